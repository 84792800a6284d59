"""A part of the picture that is known: for inpainting and outpainting."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..maps import own_mask
from .picture_target import PictureTarget
from .pictures import average, squared_error


@dataclass(frozen=True, eq=False)
class KnownRegionTarget(PictureTarget):
    """Minus the mean squared error between picture and reference, over the pixels that are known.

    `mask`: where it is known, (R or 1, H, W) in [0, 1]. ValueError for one that covers nothing, or
    everything.
    """

    mask: Tensor
    words = (
        "the known region agreed at a PSNR of {} dB, now of {} dB",
        "known region agrees: PSNR {} -> {} dB",
        "known region agrees (PSNR in dB)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        mask = own_mask(self.mask, self.reference[:, 0])
        if (mask.flatten(1).amin(1) == 1).any():
            raise ValueError(
                "the mask covers the whole picture, so nothing is left to be made: paint only what "
                "is known (invert the mask if it marks what is to be made)"
            )
        object.__setattr__(self, "mask", mask)

    def _error(self, pictures: Tensor) -> Tensor:
        size, device = pictures.shape[-2:], pictures.device
        weight = average(self.mask[:, None], size)
        # Weighted before resizing, so that what is unknown does not bleed into what is known.
        known = self.reference * self.mask[:, None]
        if known.shape[-2:] != size:
            known = F.interpolate(known, size, mode="area") / weight.clamp(min=1e-6)
        return squared_error(pictures, known.to(device), weight[:, 0].to(device))
