"""Label maps whose grey values are class numbers, as data sets store them."""

from typing import NamedTuple

import torch
from torch import Tensor

from .segmentation_target import VOID

GREY = "grey value = index"
GREY_FROM_1 = "grey value = index + 1 (ADE20K files)"
GREY_CITYSCAPES = "grey value = Cityscapes id"
INDEX_MAPS = (GREY, GREY_FROM_1, GREY_CITYSCAPES)

USUAL_VOID = 255  # the grey value that data sets give to ignored pixels
# cityscapesScripts/helpers/labels.py: the ids of the 19 training classes, in their order.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

EIGHT_BIT = (255.0, 255.996)  # ComfyUI 0.30 reads 8-bit grey files (not RGB) by the second
SIXTEEN_BIT = 65535.0
EXACT = 0.05  # float32's rounding of a 16-bit value in [-1, 1] stays below this
ROUNDED = 0.1  # farther from a whole number than this, a value is a mixture of classes
LONELY = 0.01  # of the pixels: more than this in no cluster of its own class are a sign of JPEG


class LabelMap(NamedTuple):
    """`labels`: (R, H, W) int64, VOID where there is no class. `notes`: for the user.

    `unmatched`: the share of pixels, in [0, 1], whose value stands for neither a class nor void.
    """

    labels: Tensor
    unmatched: float
    notes: tuple[str, ...] = ()


def read_index_map(image: Tensor, kind: str, void: int = USUAL_VOID) -> LabelMap:
    """Read class numbers from the grey `image` (R, 3, H, W) in [-1, 1].

    `kind`: one of INDEX_MAPS. `void`: a grey value that asks for nothing, -1 if there is none. A
    value that is not whole lies between the numbers of two classes: it is void, and a note says so.
    """
    exact = _grey_values(image)
    values = exact.round().long()
    is_mixed = (exact - values).abs() > ROUNDED
    unmatched = is_mixed.float().mean().item()
    notes = []
    if unmatched:
        notes.append(
            f"{unmatched:.1%} of the grey values are not whole numbers, as in a map that was "
            f"resized or blurred; these pixels are void: load the map in its own size"
        )
    elif (lonely := _lonely(values)) > LONELY:
        notes.append(
            f"{lonely:.1%} of the pixels have a value that none of their neighbours has, as in a "
            f"JPEG, which changes class numbers: use a PNG"
        )
    labels = _classes(values, kind).where((values != void) & ~is_mixed, VOID)
    return LabelMap(labels, unmatched, tuple(notes))


def image_to_grey(image: Tensor) -> Tensor:
    """(R, 3, H, W) in [-1, 1] -> (R, H, W) in [0, 1]; ValueError if it is coloured."""
    if (image.amax(1) - image.amin(1)).max() > 0.2:
        raise ValueError("the map is coloured: load a grey one, without a colour scheme")
    return (image.mean(1) + 1) / 2


def _grey_values(image: Tensor) -> Tensor:
    """(R, H, W), not rounded: by the 8-bit scale that leaves more of them whole.

    Only a map that is not whole by either, and is by the 16-bit scale, has 16 bits.
    """
    grey = image_to_grey(image)
    candidates = [grey * scale for scale in EIGHT_BIT]
    offsets = [(values - values.round()).abs() for values in candidates]
    if min(offset.max() for offset in offsets) > EXACT / SIXTEEN_BIT * EIGHT_BIT[0]:
        sixteen = grey * SIXTEEN_BIT
        if (sixteen - sixteen.round()).abs().max() < EXACT:
            return sixteen
    return min(zip(offsets, candidates, strict=True), key=lambda pair: pair[0].mean())[1]


def _classes(values: Tensor, kind: str) -> Tensor:
    if kind == GREY_CITYSCAPES:
        table = torch.full((256,), VOID)
        table[list(CITYSCAPES_IDS)] = torch.arange(len(CITYSCAPES_IDS))
        return table[values.clamp(max=255)]
    return values - 1 if kind == GREY_FROM_1 else values


def _lonely(values: Tensor) -> float:
    """The share of pixels that differ from all four neighbours."""
    has_twin = torch.zeros_like(values, dtype=torch.bool)
    down = values[:, 1:] == values[:, :-1]
    across = values[..., 1:] == values[..., :-1]
    has_twin[:, 1:] |= down
    has_twin[:, :-1] |= down
    has_twin[..., 1:] |= across
    has_twin[..., :-1] |= across
    return 1 - has_twin.float().mean().item()
