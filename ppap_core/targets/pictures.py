"""Reference pictures, for targets that compare the picture itself with one.

Pictures are (R, 3, H, W) in [-1, 1]: R is 1 for the whole batch or one for each picture.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows, mean_over_pixels

FULL_RANGE = 2.0  # from black to white
LEAST = 1e-10  # squared error: a PSNR of 106 dB


@torch.inference_mode(False)
def own_pictures(pictures: Tensor) -> Tensor:
    """A copy on the CPU, in float32. ValueError for what is no picture, or not finite."""
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not pictures.numel():
        raise ValueError(f"reference pictures are (R, 3, H, W), got {tuple(pictures.shape)}")
    own = pictures.detach().to("cpu", torch.float32, copy=True)
    if not own.isfinite().all():
        raise ValueError("the reference picture holds values that are not finite")
    return own


def check_picture(prediction: Tensor, rows: int) -> None:
    """ValueError unless `prediction` is pictures (B, 3, h, w), for which `rows` will do."""
    if prediction.ndim != 4 or prediction.shape[1] != 3:
        raise ValueError(
            f"a likeness target reads pictures (B, 3, h, w), the guider answers "
            f"{tuple(prediction.shape)}: connect the guider of the same Target Likeness"
        )
    check_rows(rows, len(prediction), "target")


def average(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., *size): each place is the mean of the pixels that it covers."""
    if tuple(pictures.shape[-2:]) == tuple(size):
        return pictures
    return F.interpolate(pictures, size, mode="area")


def squared_error(seen: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over pixels, and over channels: (B, 3, h, w), with (R, 3, h, w) and
    (R or 1, h, w) -> (B,).
    """
    return mean_over_pixels((seen - wanted).square().mean(dim=1), weight)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of a squared error."""
    return 10 * (FULL_RANGE**2 / error.clamp(min=LEAST)).log10()
