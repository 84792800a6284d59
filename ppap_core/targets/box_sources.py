"""Boxes from ComfyUI's BOUNDING_BOX, and around masks.

Read in ComfyUI 0.30.0: nodes_rtdetr.py gives a list of lists, one for each picture, of x, y, width,
height in pixels, label and score; nodes_bounding_boxes.py one list without labels; a widget or
another pack may give a single box, or one list of boxes. A canvas may hold a description in place
of a label (metadata, "desc").
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .class_names import find_class

Corners = tuple[float, float, float, float]
EVERYWHERE = -math.inf, -math.inf, math.inf, math.inf  # wherever the picture ends
FORMAT = (
    "the socket 'bboxes' takes BOUNDING_BOX: boxes of x, y, width and height in pixels, or a list "
    "of them for each picture"
)


class Found(NamedTuple):
    """A box as it was given. `corners`: in shares of the picture, which they may leave. `told`: how
    errors call it.
    """

    index: int
    corners: Corners
    weight: float
    told: str


def in_shares(corners: Corners, size: tuple[float, float], told: str) -> Corners:
    """Pixels of a picture of `size` (width, height) -> shares."""
    width, height = size
    if not width or not height:
        raise ValueError(
            f"{told} is in pixels, and the size of its picture is not known: connect that picture "
            f"to the socket image, or set the widgets width and height"
        )
    left, top, right, bottom = corners
    return left / width, top / height, right / width, bottom / height


def read_bounding_boxes(
    value: Any, class_name: str, labels: Sequence[str], size: tuple[float, float]
) -> list[list[Found]]:
    """The boxes of each picture. `class_name`: the class of those that have no label. Without
    `labels` classes mean nothing, and no box needs one.

    ValueError, in one line, for another format, an unknown class, and a picture without a box.
    """
    frames = [[value]] if isinstance(value, Mapping) else value
    if not isinstance(frames, Sequence) or isinstance(frames, str):
        raise ValueError(f"{FORMAT}; it got a {type(value).__name__}: connect a detector's boxes")
    if frames and all(isinstance(entry, Mapping) for entry in frames):
        frames = [frames]
    rows = [
        [_read_box(box, class_name, labels, size, f"box {k}") for k, box in enumerate(frame, 1)]
        for frame in frames
        if isinstance(frame, Sequence)
    ]
    if not rows or not all(rows) or len(rows) < len(frames):
        which = f"picture {rows.index([]) + 1} of" if len(rows) > 1 and [] in rows else ""
        raise ValueError(
            f"{which} the socket 'bboxes' has no box".strip()
            + ": lower the detector's threshold, or draw one"
        )
    return rows


def _read_box(
    box: Any, class_name: str, labels: Sequence[str], size: tuple[float, float], told: str
) -> Found:
    told = f"{told} of the socket 'bboxes'"
    try:
        left, top, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
        metadata = box.get("metadata") or {}
        name = str(box.get("label") or metadata.get("desc") or class_name).strip()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{FORMAT}; {told} is not like that: connect another node") from None
    if labels and not name:
        raise ValueError(f"{told} has no label: write its class into the widget class_name")
    corners = in_shares((left, top, left + width, top + height), size, told)
    return Found(find_class(name, labels) if labels else 0, corners, 1.0, told)


def boxes_around(masks: Tensor, class_name: str, labels: Sequence[str]) -> list[list[Found]]:
    """The box around what is above 0.5 in each of `masks` (R, H, W).

    ValueError, in one line, for an empty mask, and for no class or an unknown one.
    """
    if not class_name.strip():
        raise ValueError(
            "the socket mask says where, but not what: write its class into the widget class_name"
        )
    index = find_class(class_name, labels)
    return [[Found(index, _around(mask, k), 1.0, "the mask")] for k, mask in enumerate(masks, 1)]


def _around(mask: Tensor, number: int) -> Corners:
    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        raise ValueError(f"mask {number} of the socket mask is empty: paint where the object is")
    height, width = mask.shape
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    left, top, right, bottom = (int(side) for side in (*low, *high))
    return left / width, top / height, right / width, bottom / height
