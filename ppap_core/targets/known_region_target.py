"""A part of the picture that is known: for inpainting and outpainting."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..maps import own_mask
from .pictures import average, check_picture, own_pictures, psnr, squared_error
from .wording import Wording


@dataclass(frozen=True, eq=False)
class KnownRegionTarget:
    """Minus the mean squared error between picture and reference, over the pixels that are known.

    `reference`: (R, 3, H, W) in [-1, 1]. `mask`: where it is known, (R or 1, H, W) in [0, 1].
    ValueError for a mask that covers nothing, or everything.
    """

    reference: Tensor
    mask: Tensor
    task = "likeness"
    answer = "picture"

    def __post_init__(self) -> None:
        reference = own_pictures(self.reference)
        mask = own_mask(self.mask, reference[:, 0])
        if (mask.flatten(1).amin(1) == 1).any():
            raise ValueError(
                "the mask covers the whole picture, so nothing is left to be made: paint only what "
                "is known (invert the mask if it marks what is to be made)"
            )
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "mask", mask)

    @property
    def num_rows(self) -> int:
        return len(self.reference)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: pictures (B, 3, h, w) in about [-1, 1] -> (B,), in float32."""
        return -self._error(prediction)

    def agreement(self, prediction: Tensor) -> Tensor:
        """PSNR of the known region in dB: (B, 3, h, w) -> (B,)."""
        return psnr(self._error(prediction))

    def wording(self, labels: Sequence[str]) -> Wording:
        return Wording(
            "the known region agreed at a PSNR of {} dB, now of {} dB",
            "known region agrees: PSNR {} -> {} dB",
            "known region agrees (PSNR in dB)",
            **{"is_share": False, "has_end": False, "decimals": 1},
        )

    def _error(self, prediction: Tensor) -> Tensor:
        check_picture(prediction, self.num_rows)
        size, device = prediction.shape[-2:], prediction.device
        weight = average(self.mask[:, None], size)
        # Weighted before resizing, so that what is unknown does not bleed into what is known.
        known = self.reference * self.mask[:, None]
        if known.shape[-2:] != size:
            known = F.interpolate(known, size, mode="area") / weight.clamp(min=1e-6)
        return squared_error(prediction.float(), known.to(device), weight[:, 0].to(device))
