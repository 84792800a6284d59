"""How bright, how coloured and how contrasty each part of a picture is."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from .picture_target import PictureTarget
from .pictures import average

LEVELS = 127.5  # of 8 bits, in one unit of an image
LEAST = 1e-6  # variance


@dataclass(frozen=True, eq=False)
class ContrastTarget(PictureTarget):
    """Minus the mean squared difference of mean and standard deviation, by channel and region.

    `regions`: their rows and columns. Of several, each weighs pixels by a triangle that reaches to
    the middles of its neighbours: no seams are asked for.
    """

    regions: tuple[int, int] = (1, 1)
    _wanted: Tensor = field(default=None, init=False, repr=False)
    words = (
        "mean and contrast were {} levels of 255 away from the reference's, now {}",
        "mean and contrast differ by {} -> {} levels of 255",
        "difference of mean and contrast (levels of 255)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        with torch.inference_mode(False):
            wanted = _statistics(self.reference, self.regions)
        object.__setattr__(self, "_wanted", wanted)

    def agreement(self, prediction: Tensor) -> Tensor:
        """The root mean squared difference in levels of 255: (B, 3, h, w) -> (B,)."""
        return LEVELS * self.error(prediction).sqrt()

    def _error(self, pictures: Tensor) -> Tensor:
        seen = _statistics(pictures, self.regions)
        return (seen - self._wanted.to(seen.device)).square().flatten(1).mean(1)


def _statistics(pictures: Tensor, regions: tuple[int, int]) -> Tensor:
    """(R, 3, H, W) -> (R, 6, *regions): means of the channels, then standard deviations."""
    mean = _smooth_average(pictures, regions)
    variance = _smooth_average(pictures.square(), regions) - mean.square()
    return torch.cat((mean, variance.clamp(min=LEAST).sqrt()), 1)


def _smooth_average(pictures: Tensor, regions: tuple[int, int]) -> Tensor:
    """Means over triangles, and along a side that has one region over all of it."""
    height, width = (
        1 if num == 1 else side for num, side in zip(regions, pictures.shape[2:], strict=True)
    )
    pictures = average(pictures, (height, width))
    return F.interpolate(pictures, regions, mode="bilinear", antialias=True)
