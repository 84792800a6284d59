"""Maps over the picture (depth, labels, masks): checked, copied, resized and framed.

A map is (R, H, W): R is the number of rows, 1 for the whole batch or one for each picture.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

FITS = ("stretch", "crop", "pad")


def check_rows(rows: int, batch: int, what: str) -> None:
    """ValueError unless `rows` is 1 or `batch`. `what` has these rows: the target, the mask, ..."""
    if rows not in (1, batch):
        raise ValueError(
            f"the {what} is for {rows} pictures, the batch has {batch}: give one for all or one "
            f"for each"
        )


@torch.inference_mode(False)
def own_maps(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, H, W) or (H, W), on any device -> a copy (R, H, W) on the CPU, of type `dtype`.

    A copy, because ComfyUI's tensors are inference tensors, which autograd refuses.
    """
    if maps.ndim not in (2, 3) or not maps.numel():
        raise ValueError(f"a map is (H, W) or (R, H, W), got {tuple(maps.shape)}")
    return maps.detach().reshape(-1, *maps.shape[-2:]).to("cpu", dtype, copy=True)


@torch.inference_mode(False)
def own_mask(mask: Tensor | None, maps: Tensor) -> Tensor:
    """A copy of `mask`, the weights of the pixels of `maps` (R, H, W): (R or 1, H, W) in [0, 1].

    None: every pixel counts. ValueError for another size, and for a mask that is 0 everywhere.
    """
    if mask is None:
        return torch.ones_like(maps[:1], dtype=torch.float32)
    mask = own_maps(mask, torch.float32)
    if mask.shape[-2:] != maps.shape[-2:] or len(mask) not in (1, len(maps)):
        raise ValueError(
            f"mask and map differ in size: {tuple(mask.shape)} and {tuple(maps.shape)}"
        )
    if not (mask.flatten(1).amax(1) > 0).all():
        raise ValueError("the mask is empty: paint where the target counts")
    return mask.clamp(0, 1)


def mean_over_pixels(maps: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean per picture, (B, h, w) and (R or 1, h, w) -> (B,); 0 where no pixel counts."""
    return (maps * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-6)


def shrink_or_grow(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(R, H, W) -> (R, *size), bilinear, antialiased where the map shrinks."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", antialias=True)[0]


def fit_frame(maps: Tensor, width: int, height: int, fit: str, fill: float) -> Tensor:
    """(..., H, W) brought to the proportions `width` : `height` without resizing.

    "crop" keeps the middle, "pad" adds `fill` on both sides, "stretch" changes nothing: the map
    will be stretched over the picture. A width or height of 0 changes nothing either.
    """
    if fit not in FITS:
        raise ValueError(f"fit is one of {', '.join(FITS)}, got {fit!r}")
    if fit == "stretch" or not width or not height:
        return maps
    have_height, have_width = maps.shape[-2:]
    is_wide = have_width * height > width * have_height
    size = [have_height, have_width]
    if is_wide == (fit == "crop"):
        size[1] = max(1, round(have_height * width / height))
    else:
        size[0] = max(1, round(have_width * height / width))
    down, across = size[0] - have_height, size[1] - have_width  # F.pad crops where it is below 0
    sides = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(maps, sides, value=fill)
