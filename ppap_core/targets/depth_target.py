"""A depth map that a depth model should see in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import check_rows, own_maps, own_mask, shrink_or_grow
from .wording import Wording

ROUNDING = 1e-12  # variance below this share of the mean square is float32's rounding


@dataclass(frozen=True, eq=False)
class DepthTarget:
    """Minus the mean squared error between two nearness maps, each brought to mean 0, variance 1.

    `nearness`: (R, H, W) or (H, W), larger is nearer (inverse depth), any scale and shift; R is 1
    or the batch's size. `mask`: where it counts, (R or 1, H, W) in [0, 1]. Inverse depth is known
    up to scale and shift only, so both maps are aligned as in MiDaS (Ranftl et al., 2020, equations
    5 and 6), but with mean and standard deviation in place of median and mean absolute deviation,
    which are not smooth. With r the correlation of the two maps this is 2 r - 2, in [-4, 0]. An
    inverted map (near is far) is therefore the worst; a least squares fit would rate it as high as
    the right one.
    """

    nearness: Tensor
    mask: Tensor | None = None
    task = "depth"
    answer = "nearness"

    def __post_init__(self) -> None:
        nearness = own_maps(self.nearness, torch.float32)
        if not nearness.isfinite().all():
            raise ValueError("the depth map holds values that are not finite")
        mask = own_mask(self.mask, nearness)
        if not standardised(nearness, mask).flatten(1).any(1).all():
            raise ValueError("the depth map is the same everywhere: there is nothing to ask for")
        object.__setattr__(self, "nearness", nearness)
        object.__setattr__(self, "mask", mask)

    @property
    def num_rows(self) -> int:
        return len(self.nearness)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: nearness (B, h, w), any scale and shift -> (B,) in [-4, 0], float32."""
        return -aligned_squared_error(prediction.float(), *self._wanted_like(prediction))

    def _wanted_like(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted map in the size of `prediction` (B, h, w), and where it counts: (R, h, w)."""
        if prediction.ndim != 3:
            raise ValueError(
                f"a depth target reads nearness (B, h, w), the guider answers "
                f"{tuple(prediction.shape)}: connect a depth model"
            )
        check_rows(self.num_rows, len(prediction), "target")
        size = prediction.shape[-2:]
        weight = shrink_or_grow(self.mask, size)
        # Weighted before resizing, so that masked pixels do not bleed into those that count.
        wanted = shrink_or_grow(self.nearness * self.mask, size) / weight.clamp(min=1e-6)
        return wanted.to(prediction.device), weight.to(prediction.device)

    def agreement(self, prediction: Tensor) -> Tensor:
        """The correlation of both maps, where the target counts: (B, h, w) -> (B,) in [-1, 1].

        0 for a flat answer.
        """
        wanted, weight = self._wanted_like(prediction)
        product = standardised(prediction.float(), weight) * standardised(wanted, weight)
        return _mean(product, weight).flatten()

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "depth agreed with the map by {}, now by {} (correlation; 1 is the same map)",
            "{} -> {} agreement with the map",
            "depth agrees",
            is_share=False,
        )


def aligned_squared_error(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of squared differences of the standardised maps: (B, h, w) each -> (B,)."""
    difference = standardised(a, weight) - standardised(b, weight)
    return _mean(difference.square(), weight).flatten()


def standardised(maps: Tensor, weight: Tensor) -> Tensor:
    """(B, h, w) with weighted mean 0 and variance 1; a flat map gives 0, and no gradient."""
    centred = maps - _mean(maps, weight)
    variance = _mean(centred.square(), weight)
    is_flat = variance <= ROUNDING * _mean(maps.square(), weight)
    return centred / variance.masked_fill(is_flat, torch.inf).sqrt()


def _mean(maps: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean per picture, (B, 1, 1)."""
    return (maps * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
