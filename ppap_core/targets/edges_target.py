"""Edges that an edge detector should see in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows, mean_over_pixels, own_maps, own_mask
from .wording import Wording

TOLERANCE = 0.0075  # of the diagonal: that of the boundary benchmark BSDS500
SURE = 2.0  # log-odds, 88 %: more is not asked for, as it would ask for ever more contrast
FAINTEST = 0.1  # a map whose strongest edge is below this is empty


@dataclass(frozen=True, eq=False)
class EdgesTarget:
    """The log-probability of an edge where one is asked for, and of none elsewhere.

    Both are weighted means over their pixels, and count equally, as in HED's class-balanced
    cross-entropy (Xie and Tu, 2015, equation 2). An edge may lie `reach` pixels beside its place,
    as in the boundary benchmark (Martin et al., 2004): where one is asked for the likeliest within
    reach counts, and "elsewhere" begins out of reach. No pixel has to be surer than the map is, nor
    than SURE, so that what a guider sees in the reference is the best answer.
    `edges`: (R, H, W) or (H, W) in [0, 1], 1 is an edge; R is 1 or the batch's size. `mask`: where
    they count, (R or 1, H, W) in [0, 1].
    """

    edges: Tensor
    mask: Tensor | None = None
    task = "edges"
    answer = "edges"

    @torch.inference_mode(False)
    def __post_init__(self) -> None:
        edges = own_maps(self.edges, torch.float32)
        if not edges.isfinite().all():
            raise ValueError("the edge map holds values that are not finite")
        mask = own_mask(self.mask, edges)
        edges = edges.clamp(0, 1)
        if ((edges * mask).flatten(1).amax(1) < FAINTEST).any():
            raise ValueError("the edge map is empty where it counts: there is nothing to ask for")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "mask", mask)

    @property
    def num_rows(self) -> int:
        return len(self.edges)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: the log-odds of an edge, (B, 1, h, w) -> (B,) in float32."""
        wanted, weight = self._wanted_like(prediction)
        odds, far = prediction.float()[:, 0], self._reach(prediction)
        sure = wanted.logit(eps=1e-6).clamp(-SURE, SURE)
        there = mean_over_pixels(_log_p(_nearby(odds, far), sure), wanted * weight)
        near = _nearby(wanted, far)
        elsewhere = mean_over_pixels(_log_p(-odds, -_nearby(sure, far)), (1 - near) * weight)
        return (there + elsewhere) / 2

    def agreement(self, prediction: Tensor) -> Tensor:
        """F1 of both maps' edges, within reach of each other: (B, 1, h, w) -> (B,) in [0, 1]."""
        wanted, weight = self._wanted_like(prediction)
        strongest = wanted.amax((1, 2), keepdim=True)
        seen = (prediction[:, 0] > 0).float() * weight
        return f1((wanted > strongest / 2).float() * weight, seen, self._reach(prediction))

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "{} of the edges were as asked, now {} (F1; 100 % is the same drawing)",
            "{} -> {} of the edges as asked",
            "edges as asked (F1)",
        )

    def _reach(self, prediction: Tensor) -> int:
        """As of `reach`, and at least one pixel of the map, which says no more about a place."""
        growth = prediction.shape[-1] / self.edges.shape[-1]
        return max(reach(prediction), round(growth))

    def _wanted_like(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The map in the size of `prediction` (B, 1, h, w), and where it counts: (R, h, w)."""
        if prediction.ndim != 4 or prediction.shape[1] != 1:
            raise ValueError(
                f"an edges target reads log-odds (B, 1, h, w), the guider answers "
                f"{tuple(prediction.shape)}: connect an edge detector"
            )
        check_rows(self.num_rows, len(prediction), "target")
        size = prediction.shape[-2:]
        maps = (resize_lines(self.edges * self.mask, size), resize_lines(self.mask, size))
        return tuple(map.to(prediction.device) for map in maps)


def _log_p(odds: Tensor, enough: Tensor) -> Tensor:
    """The log-probability for log-odds, no more than for `enough`."""
    return F.logsigmoid(torch.minimum(odds, enough))


def reach(maps: Tensor) -> int:
    """How many pixels an edge may be beside its place on (..., h, w); at least 1."""
    height, width = maps.shape[-2:]
    return max(1, round(TOLERANCE * (height**2 + width**2) ** 0.5))


def resize_lines(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(R, H, W) -> (R, *size); where it shrinks the strongest counts, so that thin lines stay."""
    smaller = tuple(map(min, zip(maps.shape[-2:], size, strict=True)))
    maps = F.adaptive_max_pool2d(maps, smaller)
    return F.interpolate(maps[None], size, mode="nearest-exact")[0]


def f1(one: Tensor, other: Tensor, far: int) -> Tensor:
    """Of two drawings (R or B, h, w) of 0 and 1, or weights: (B,); 1 if there are none in both."""
    shares = []
    for a, b in ((one, other), (other, one)):
        there = a.sum((1, 2))
        found = (a * (_nearby(b, far) > 0)).sum((1, 2))
        shares.append(torch.where(there > 0, found / there.clamp(min=1e-9), 1.0))
    recall, precision = torch.broadcast_tensors(*shares)
    return 2 * recall * precision / (recall + precision).clamp(min=1e-9)


def _nearby(maps: Tensor, far: int) -> Tensor:
    """The largest value within `far` pixels, shaped like `maps` (B, h, w)."""
    return F.max_pool2d(maps, 2 * far + 1, stride=1, padding=far)
