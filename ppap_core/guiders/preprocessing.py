"""From an image in [-1, 1] to what a vision model was trained on, differentiably."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Preprocessing:
    """Resize (antialiased), crop the centre, normalise: timm's evaluation transform.

    `size`: (height, width) of the model's input. `crop_fraction`: share of the resized picture's
    shorter side that the crop keeps. `mean`, `std`: per channel, for pixels in [0, 1].
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0

    def __post_init__(self):
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                f"interpolation is 'bilinear' or 'bicubic', got {self.interpolation!r}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction is in (0, 1], got {self.crop_fraction}")

    def __call__(self, image: Tensor) -> Tensor:
        """`image`: (B, 3, H, W) in [-1, 1], any H and W -> (B, 3, *size), normalised."""
        image = self._crop(self._resize(image))
        mean = image.new_tensor(self.mean)[:, None, None]
        std = image.new_tensor(self.std)[:, None, None]
        return ((image + 1) / 2 - mean) / std

    def _resize(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        ratio = max(
            math.floor(s / self.crop_fraction) / side
            for s, side in zip(self.size, (height, width), strict=True)
        )
        if ratio == 1:
            return image
        size = (round(height * ratio), round(width * ratio))
        return F.interpolate(image, size, mode=self.interpolation, antialias=True)

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (
            (have - want) // 2 for have, want in zip(image.shape[-2:], self.size, strict=True)
        )
        return image[..., top : top + self.size[0], left : left + self.size[1]]
