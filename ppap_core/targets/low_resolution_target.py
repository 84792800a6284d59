"""A small picture that the picture should be, seen from far away: for tiles and upscaling."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import own_mask
from .picture_target import PictureTarget
from .pictures import average, own_pictures, squared_error


@dataclass(frozen=True, eq=False)
class LowResolutionTarget(PictureTarget):
    """Minus the mean squared error between the picture, averaged down, and a small one.

    With A the average over each small pixel and y the small picture this is -|A x - y|^2, up to a
    factor: the distance in the space of estimates of FlowChef (arXiv 2412.00100) and FlowDPS
    (arXiv 2503.08136). `reference`: y, (R, 3, h, w) in [-1, 1]. `mask`: where it counts, (R or 1,
    h, w) in [0, 1]. Where the picture is smaller than y, y is averaged down as well.
    """

    mask: Tensor | None = None
    words = (
        "the low resolution agreed at a PSNR of {} dB, now of {} dB",
        "low resolution agrees: PSNR {} -> {} dB",
        "low resolution agrees (PSNR in dB)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mask", own_mask(self.mask, self.reference[:, 0]))

    def _error(self, pictures: Tensor) -> Tensor:
        sides = zip(pictures.shape[-2:], self.reference.shape[-2:], strict=True)
        size = tuple(map(min, sides))
        wanted, weight = (
            average(x, size).to(pictures.device) for x in (self.reference, self.mask[:, None])
        )
        return squared_error(average(pictures, size), wanted, weight[:, 0])


def average_down(pictures: Tensor, cells: int) -> Tensor:
    """(R, 3, H, W) -> `cells` pixels along the longer side; 0: as they are.

    ValueError where they have fewer.
    """
    height, width = pictures.shape[-2:]
    longer = max(height, width)
    if not cells:
        return pictures
    if cells > longer:
        raise ValueError(
            f"the reference is {width} x {height} pixels, cells asks for {cells} along its longer "
            f"side: lower cells, or connect a larger picture"
        )
    size = tuple(max(1, round(side * cells / longer)) for side in (height, width))
    with torch.inference_mode(False):
        return average(own_pictures(pictures), size)
