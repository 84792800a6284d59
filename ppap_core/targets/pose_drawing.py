"""A pose as a picture: a disc of its own colour for each joint, and the limbs between them."""

import colorsys
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..pixels import bhwc_to_image, pil_to_bhwc

SIDES = ("left", "right")
LIMBS = (
    *(
        (f"{side} {a}", f"{side} {b}")
        for side in SIDES
        for a, b in (
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
            ("hip", "knee"),
            ("knee", "ankle"),
            ("shoulder", "hip"),
            ("eye", "ear"),
        )
    ),
    *(("nose", f"{side} eye") for side in SIDES),
    *((f"left {part}", f"right {part}") for part in ("shoulder", "hip")),
)
LINE = (140, 140, 140)
SIDE = 512  # pixels of the longer side
RADIUS, WIDTH = SIDE // 80, SIDE // 130


def joint_colour(index: int, num: int) -> tuple[int, int, int]:
    """Of joint `index` of `num`, in 8 bits: hues all around."""
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(index / num, 1.0, 1.0))


def draw_poses(
    points: Tensor, weights: Tensor, labels: Sequence[str], size: tuple[float, float]
) -> Tensor:
    """(R, J, 2) in [0, 1], drawn where `weights` (R, J) are above 0 -> (R, 3, H, W) in [-1, 1].

    `labels`: the joints' names, by which limbs are drawn. `size`: (width, height), of which the
    proportions are kept.
    """
    width, height = (max(1, round(SIDE * side / max(size))) for side in size)
    drawn = [
        _draw(row, asked, labels, (width, height))
        for row, asked in zip(points.tolist(), (weights > 0).tolist(), strict=True)
    ]
    return bhwc_to_image(torch.cat([pil_to_bhwc(picture) for picture in drawn]))


def _draw(
    points: Sequence[Sequence[float]],
    asked: Sequence[bool],
    labels: Sequence[str],
    size: tuple[int, int],
) -> Image.Image:
    picture = Image.new("RGB", size)
    pen = ImageDraw.Draw(picture)
    # A pixel's centre is half a pixel from its corner.
    places = [tuple(p * side - 0.5 for p, side in zip(xy, size, strict=True)) for xy in points]
    known = {name: places[i] for i, name in enumerate(labels) if asked[i]}
    for a, b in LIMBS:
        if a in known and b in known:
            pen.line([known[a], known[b]], fill=LINE, width=WIDTH)
    for index, (x, y) in enumerate(places):
        if asked[index]:
            box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
            pen.ellipse(box, fill=joint_colour(index, len(places)))
    return picture
