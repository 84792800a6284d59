"""Parts of pictures, cut out as pictures of their own, with a gradient.

A box is (left, top, right, bottom) in shares of the picture's width and height; it may reach beyond
the picture. Torchvision's `roi_align` exists for few devices, and clamps what lies outside.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .maps import check_rows

if TYPE_CHECKING:  # targets import this file, and guiders know targets
    from .guiders import Preprocessing

Sides = tuple[int, int]  # (height, width)


def check_boxes(boxes: Tensor) -> None:
    """ValueError unless all of `boxes` (R, P, 4) have an area and a part inside the picture."""
    if boxes.ndim != 3 or boxes.shape[2] != 4 or not boxes.numel() or not boxes.isfinite().all():
        raise ValueError(f"boxes are finite numbers (R, P, 4), got {tuple(boxes.shape)}")
    low, high = boxes[..., :2], boxes[..., 2:]
    if not (high.clamp(0, 1) > low.clamp(0, 1)).all():
        raise ValueError(
            "a box is empty or outside the picture: left, top, right, bottom in [0, 1]"
        )


def cut_sides(boxes: Tensor, sides: Sequence[int], reads: "Preprocessing") -> Sides:
    """The size of all cut-outs of pictures of `sides` (h, w): what `reads` makes of the largest."""
    largest = (boxes[..., 2:] - boxes[..., :2]).flatten(0, 1).amax(0).tolist()
    pixels = (max(1, round(s * side)) for s, side in zip(largest[::-1], sides[-2:], strict=True))
    return reads.resized(tuple(pixels))


def cut_out(image: Tensor, boxes: Tensor, reads: "Preprocessing") -> Tensor:
    """`image` (B, 3, H, W) in [-1, 1], `boxes` (R, P, 4), R is 1 or B -> (B * P, 3, h, w).

    The P cut-outs of a picture follow each other. They are resized once, bilinear and antialiased,
    so that `reads` finds nothing more to resize; a box of other proportions than the largest is
    stretched. Beyond the picture is the colour of `reads`' borders.
    """
    check_rows(len(boxes), len(image), "target")
    size = cut_sides(boxes, image.shape[-2:], reads)
    rows = _means(boxes[..., 1], boxes[..., 3], image.shape[-2], size[0])
    columns = _means(boxes[..., 0], boxes[..., 2], image.shape[-1], size[1])
    rows, columns = (m.to(image).expand(len(image), -1, -1, -1) for m in (rows, columns))
    border = reads.border(image)
    cut = torch.einsum("bphy,bcyx,bpwx->bpchw", rows, image - border, columns)
    return cut.flatten(0, 1) + border


def _means(low: Tensor, high: Tensor, old: int, new: int) -> Tensor:
    """Matrices (R, P, new, old): of `old` pixels those of a part from `low` to `high` (R, P).

    The weights are triangles over at least a pixel on each side, as PyTorch and PIL resize; 0 where
    a new pixel's centre is outside.
    """
    length = (high - low)[..., None]
    centre = low[..., None] + (torch.arange(new) + 0.5) / new * length
    reach = (length * old / new).clamp(min=1)[..., None]
    weights = (1 - (centre[..., None] * old - 0.5 - torch.arange(old)).abs() / reach).clamp(min=0)
    is_inside = ((centre >= 0) & (centre <= 1))[..., None]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6) * is_inside


def box_mask(boxes: Tensor, sides: Sequence[int]) -> Tensor:
    """(R, P, 4) -> (R, h, w) in [0, 1]: how much of each pixel the box that has most of it has."""
    height, width = sides
    rows = _covered(boxes[..., 1], boxes[..., 3], height)
    columns = _covered(boxes[..., 0], boxes[..., 2], width)
    return (rows[..., :, None] * columns[..., None, :]).amax(1)


def _covered(low: Tensor, high: Tensor, num: int) -> Tensor:
    """(R, P, num): the share of each of `num` pixels that lies between `low` and `high` (R, P)."""
    first = torch.arange(num) / num
    shared = high[..., None].minimum(first + 1 / num) - low[..., None].maximum(first)
    return (shared * num).clamp(0, 1)
