"""From an image in [-1, 1] to the input that a vision model was trained on, differentiably."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

Sides = tuple[int, int]
INTERPOLATIONS = ("bilinear", "bicubic")
CROP_MODES = ("center", "squash", "border", "shortest", "fit", "inside", "own", "bounded", "corner")
BLACK = -1.0
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue in grey: ITU-R BT.601, as PIL takes them


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalise, as timm, transformers and torchvision do it for evaluation.

    `size`: (height, width) of the model's input. `mean`, `std`: per channel, for pixels in [0, 1];
    three channels are colour, one is grey.
    `crop_fraction`: the share of the resized picture's shorter side that the crop keeps;
    `resize_to`: the size to resize to, in pixels, in place of `crop_fraction`. `floor_crop`: a crop
    that cannot be centred exactly is rounded down (transformers), not to even. `reverse_channels`:
    the model reads blue, green, red. `crop_mode`:

    - "center" keeps the picture's proportions and cuts off what is outside `size`.
    - "squash" stretches the whole picture to `size`.
    - "border" keeps the whole picture and its proportions inside `size`, and fills up with `mean`,
      or with black if `black_border`.
    - "corner" makes a square of the picture, with black at the right or below, and resizes that to
      `size` (OWLv2).

    The other modes keep the whole picture and its proportions, so the input's size varies:

    - "shortest" resizes the shorter side to `size[0]`, and rounds both sides up to a `multiple`
      (Mask2Former).
    - "fit" scales as little as possible so that one side meets `size`, and rounds both sides to a
      `multiple` (DPT, Depth Anything, ZoeDepth).
    - "inside" scales so that the whole picture just fits into `size`, and rounds both sides to a
      `multiple` (Sapiens2, without the black borders that its processor adds).
    - "bounded" resizes the shorter side to `size[0]`, or to less where the longer one would be
      above `size[1]`, and rounds both down to a `multiple` (DETR, YOLOS).
    - "own" keeps the picture's own size, rounded down to a `multiple` (GLPN).
    """

    size: Sides
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    crop_mode: str = "center"
    resize_to: Sides | None = None
    multiple: int = 1
    antialias: bool = True
    align_corners: bool = False
    floor_crop: bool = False
    reverse_channels: bool = False
    black_border: bool = False

    def __post_init__(self) -> None:
        numbers = (*self.size, *(self.resize_to or ()), *self.mean, *self.std)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError(f"sizes, mean and std are finite numbers, got {numbers}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation is 'bilinear' or 'bicubic', got {self.interpolation!r}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction is in (0, 1], got {self.crop_fraction}")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode is one of {CROP_MODES}, got {self.crop_mode!r}")
        if {len(self.mean), len(self.std)} not in ({1}, {3}):
            raise ValueError(
                f"mean and std are for three channels (colour) or one (grey), got {len(self.mean)} "
                f"and {len(self.std)} numbers"
            )
        if self.multiple < 1 or (self.antialias and self.align_corners):
            raise ValueError(
                f"multiple is at least 1, and align_corners needs antialias off; got {self}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """`image`: (B, 3, H, W) in [-1, 1], any H and W -> (B, 3 or 1, h, w), normalised.

        (h, w) is `size` in the modes "center", "squash", "border" and "corner".
        """
        if len(self.mean) == 1:
            image = (image * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        if self.crop_mode == "corner":
            height, width = image.shape[-2:]
            side = max(height, width)
            image = F.pad(image, (0, side - width, 0, side - height), value=BLACK)
        image = self._resize(image)
        if self.crop_mode == "border":
            image = self._add_borders(image)
        if self.crop_mode in ("center", "squash", "border"):
            image = self._crop(image)
        if self.reverse_channels:
            image = image.flip(1)
        mean = image.new_tensor(self.mean)[:, None, None]
        std = image.new_tensor(self.std)[:, None, None]
        return ((image + 1) / 2 - mean) / std

    def _resize(self, image: Tensor) -> Tensor:
        sides = tuple(image.shape[-2:])
        size = self.resized(sides)
        if size == sides:
            return image
        align_corners = True if self.align_corners else None
        return F.interpolate(
            image,
            size,
            mode=self.interpolation,
            antialias=self.antialias,
            align_corners=align_corners,
        )

    def resized(self, sides: Sequence[int]) -> Sides:
        """To which size a picture of `sides` (height, width) is resized, before any crop."""
        if self.crop_mode == "own":
            return tuple(max(1, side // self.multiple) * self.multiple for side in sides)
        if self.crop_mode in ("fit", "inside"):
            return self._fitted(sides)
        if self.crop_mode == "bounded":
            return self._bounded(sides)
        wanted = self.resize_to or tuple(math.floor(s / self.crop_fraction) for s in self.size)
        if self.crop_mode in ("squash", "corner"):
            return wanted
        if self.crop_mode == "border":
            ratio = max(side / want for want, side in zip(wanted, sides, strict=True))
            return tuple(round(side / ratio) for side in sides)
        want, short = max(zip(wanted, sides, strict=True), key=lambda pair: pair[0] / pair[1])
        if self.crop_mode == "shortest":
            want, short = wanted[0], min(sides)
        # torchvision's Resize (square inputs) rounds the longer side down, timm's to the nearest.
        whole = int if wanted[0] == wanted[1] else round
        scaled = (whole(want * side / short) for side in sides)
        height, width = (math.ceil(side / self.multiple) * self.multiple for side in scaled)
        return height, width

    def _fitted(self, sides: Sides) -> Sides:
        """Inside `size`; or DPTImageProcessor's rule: of both sides' scales the one nearer to 1."""
        scales = [want / side for want, side in zip(self.size, sides, strict=True)]
        is_nearer = abs(1 - scales[1]) < abs(1 - scales[0])
        scale = min(scales) if self.crop_mode == "inside" else scales[is_nearer]
        multiples = (round(scale * side / self.multiple) for side in sides)
        height, width = (max(1, number) * self.multiple for number in multiples)
        return height, width

    def _bounded(self, sides: Sides) -> Sides:
        """DETR's rule, with its roundings."""
        short, long = min(sides), max(sides)
        side = min(self.size[0], self.size[1] * short / long)
        scaled = (round(side) if have == short else int(side * have / short) for have in sides)
        height, width = (max(1, have // self.multiple) * self.multiple for have in scaled)
        return height, width

    def _add_borders(self, image: Tensor) -> Tensor:
        """At least `size`, the picture in the middle of a frame of black, or `mean` in 8 bits."""
        down, across = (
            max(0, want - have) for have, want in zip(image.shape[-2:], self.size, strict=True)
        )
        border = self.border(image)
        sides = (across // 2, across - across // 2, down // 2, down - down // 2)
        return F.pad(image - border, sides) + border

    def border(self, image: Tensor) -> Tensor:
        """The colour beyond a picture like `image`, (3 or 1, 1, 1) in [-1, 1]."""
        colour = [0.0 if self.black_border else round(255 * value) for value in self.mean]
        mean = image.new_tensor(colour) / 127.5 - 1
        return (mean.flip(0) if self.reverse_channels else mean)[:, None, None]

    def _crop(self, image: Tensor) -> Tensor:
        whole = math.floor if self.floor_crop else round
        top, left = (
            whole((have - want) / 2) for have, want in zip(image.shape[-2:], self.size, strict=True)
        )
        return image[..., top : top + self.size[0], left : left + self.size[1]]


def for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """`mean` or `std` for a model that reads `channels`: their average if they are more or fewer.

    That is timm's own rule for models that were given another number of channels.
    """
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels
