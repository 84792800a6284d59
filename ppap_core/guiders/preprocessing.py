"""From an image in [-1, 1] to what a vision model was trained on, differentiably."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Preprocessing:
    """Resize (antialiased), crop the centre, normalise: timm's evaluation transform.

    `size`: (height, width) of the model's input. `crop_fraction`: share of the resized picture's
    shorter side that the crop keeps. `crop_mode`: "center" keeps the proportions, "squash" does
    not. `mean`, `std`: per channel, for pixels in [0, 1].
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self):
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                f"interpolation is 'bilinear' or 'bicubic', got {self.interpolation!r}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction is in (0, 1], got {self.crop_fraction}")
        if self.crop_mode not in ("center", "squash"):
            raise ValueError(f"crop_mode is 'center' or 'squash', got {self.crop_mode!r}")

    def __call__(self, image: Tensor) -> Tensor:
        """`image`: (B, 3, H, W) in [-1, 1], any H and W -> (B, 3, *size), normalised."""
        image = self._crop(self._resize(image))
        mean = image.new_tensor(self.mean)[:, None, None]
        std = image.new_tensor(self.std)[:, None, None]
        return ((image + 1) / 2 - mean) / std

    def _resize(self, image: Tensor) -> Tensor:
        sides = tuple(image.shape[-2:])
        size = self._resized(sides)
        if size == sides:
            return image
        return F.interpolate(image, size, mode=self.interpolation, antialias=True)

    def _resized(self, sides: tuple[int, int]) -> tuple[int, int]:
        wanted = tuple(math.floor(s / self.crop_fraction) for s in self.size)
        if self.crop_mode == "squash":
            return wanted
        want, short = max(zip(wanted, sides, strict=True), key=lambda pair: pair[0] / pair[1])
        # torchvision's Resize (square inputs) cuts the longer side off, timm's own one rounds it.
        whole = int if wanted[0] == wanted[1] else round
        height, width = (whole(want * side / short) for side in sides)
        return height, width

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (
            round((have - want) / 2) for have, want in zip(image.shape[-2:], self.size, strict=True)
        )
        return image[..., top : top + self.size[0], left : left + self.size[1]]
