"""Surface normals that a normals model should see in the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows, mean_over_pixels, own_mask, shrink_or_grow
from .wording import Wording

SHORTEST = 0.1  # a vector below this length says nothing about a direction


@dataclass(frozen=True, eq=False)
class NormalsTarget:
    """Mean over pixels of the log-density of von Mises and Fisher, but for its constant.

    On the sphere that density is exp(k cos(angle)), with k the `concentration` (Fisher, 1953): so
    this is k times the mean cosine, less k, in [-2 k, 0]. At k = 1 it is minus half the squared
    distance of the unit vectors. `normals`: (R, 3, H, W), of any length: x right, y up, z towards
    the viewer, as OpenGL has them; R is 1 or the batch's size. Where they are 0 nothing is asked
    for. `mask`: where they count, (R or 1, H, W) in [0, 1].
    """

    normals: Tensor
    mask: Tensor | None = None
    concentration: float = 1.0
    task = "normals"
    answer = "normals"

    @torch.inference_mode(False)
    def __post_init__(self) -> None:
        if not self.concentration > 0:
            raise ValueError(f"concentration has to be above 0, got {self.concentration}")
        normals = _own_normals(self.normals)
        mask = own_mask(self.mask, normals[:, 0]) * (normals.norm(dim=1) > SHORTEST)
        if not (mask.flatten(1).amax(1) > 0).all():
            raise ValueError(
                "the normal map says nothing wherever it counts: there is nothing to ask for"
            )
        object.__setattr__(self, "normals", F.normalize(normals, dim=1))
        object.__setattr__(self, "mask", mask)

    @property
    def num_rows(self) -> int:
        return len(self.normals)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: normals (B, 3, h, w) of any length -> (B,) in float32."""
        cosine, weight = self._cosine(prediction)
        return self.concentration * mean_over_pixels(cosine - 1, weight)

    def agreement(self, prediction: Tensor) -> Tensor:
        """The mean angle between both, in degrees: (B, 3, h, w) -> (B,) in [0, 180]."""
        cosine, weight = self._cosine(prediction)
        return mean_over_pixels(cosine_to_degrees(cosine), weight)

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "normals differed by {} degrees, now by {}",
            "normals differ by {} -> {} degrees",
            "difference of normals (degrees)",
            is_share=False,
            has_end=False,
            decimals=0,
        )

    def _cosine(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Of both maps, (B, h, w), and where it counts, (R, h, w)."""
        if prediction.ndim != 4 or prediction.shape[1] != 3:
            raise ValueError(
                f"a normals target reads normals (B, 3, h, w), the guider answers "
                f"{tuple(prediction.shape)}: connect a normals model"
            )
        check_rows(self.num_rows, len(prediction), "target")
        size = prediction.shape[-2:]
        weight = shrink_or_grow(self.mask, size).to(prediction.device)
        # Weighted before resizing, so that masked pixels do not bleed into those that count.
        weighted = (self.normals * self.mask[:, None]).flatten(0, 1)
        wanted = shrink_or_grow(weighted, size).unflatten(0, (-1, 3)).to(prediction.device)
        return cosine_of(prediction.float(), wanted), weight


def cosine_of(a: Tensor, b: Tensor) -> Tensor:
    """(B, 3, h, w) each, of any length -> the cosine of their angle, (B, h, w)."""
    return (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1)


def cosine_to_degrees(cosine: Tensor) -> Tensor:
    return cosine.clamp(-1, 1).acos() * (180 / math.pi)


def _own_normals(normals: Tensor) -> Tensor:
    """A copy on the CPU, in float32. ValueError for what are no normals, or not finite."""
    if normals.ndim != 4 or normals.shape[1] != 3 or not normals.numel():
        raise ValueError(f"normals are (R, 3, H, W), got {tuple(normals.shape)}")
    own = normals.detach().to("cpu", torch.float32, copy=True)
    if not own.isfinite().all():
        raise ValueError("the normal map holds values that are not finite")
    return own
