"""Maps over the picture: their rows, masks and frames."""

import torch
from torch import Tensor
from torch.nn import functional as F

FITS = ("stretch", "crop", "pad")


def check_rows(rows: int, batch: int) -> None:
    """ValueError unless a target of `rows` fits a batch: one for all, or one for each picture."""
    if rows not in (1, batch):
        raise ValueError(
            f"the target is for {rows} pictures, the batch has {batch}: give one for all or one "
            f"for each"
        )


@torch.inference_mode(False)
def own_maps(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, H, W) or (H, W), wherever it lies -> an ordinary (R, H, W) on the CPU.

    ComfyUI's tensors are inference tensors, which take no part in a backward pass.
    """
    if maps.ndim not in (2, 3) or not maps.numel():
        raise ValueError(f"a map is (H, W) or (R, H, W), got {tuple(maps.shape)}")
    return maps.detach().reshape(-1, *maps.shape[-2:]).to("cpu", dtype, copy=True)


@torch.inference_mode(False)
def own_mask(mask: Tensor | None, maps: Tensor) -> Tensor:
    """Weights (R or 1, H, W) in [0, 1] of `maps` (R, H, W); None counts every pixel."""
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


def shrink_or_grow(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(R, H, W) -> (R, *size), bilinear, antialiased where it shrinks."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", antialias=True)[0]


def fit_frame(maps: Tensor, width: int, height: int, fit: str, fill: float) -> Tensor:
    """(..., H, W) brought to the proportions `width` : `height`, in its own resolution.

    "crop" keeps the middle, "pad" adds `fill` on both sides, "stretch" leaves the map as it is: it
    will be stretched over the picture. A width or height of 0 asks for nothing.
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
