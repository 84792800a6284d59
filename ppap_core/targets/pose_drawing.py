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
LINE, BOX = (140, 140, 140), (70, 70, 70)
SIDE = 512  # pixels of the longer side
RADIUS, WIDTH = SIDE // 80, SIDE // 130


def joint_colour(index: int, num: int) -> tuple[int, int, int]:
    """Of joint `index` of `num`, in 8 bits: hues all around."""
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(index / num, 1.0, 1.0))


def draw_poses(
    points: Tensor,
    asked: Tensor,
    labels: Sequence[str],
    size: tuple[float, float],
    boxes: Tensor | None = None,
) -> Tensor:
    """People's joints (R, P, J, 2) in [0, 1], where `asked` (R, P, J) -> (R, 3, H, W) in [-1, 1].

    `labels`: the joints' names, by which limbs are drawn. `size`: (width, height), of which the
    proportions are kept. `boxes`: what is read of each picture, (R, P, 4).
    """
    sides = tuple(max(1, round(SIDE * side / max(size))) for side in size)
    drawn = []
    for row, (people, are_asked) in enumerate(zip(points, asked > 0, strict=True)):
        picture = Image.new("RGB", sides)
        pen = ImageDraw.Draw(picture)
        for box in [] if boxes is None else boxes[row].view(-1, 2, 2):
            pen.rectangle(_pixels(box, sides), outline=BOX)
        for joints, is_asked in zip(people, are_asked.tolist(), strict=True):
            _draw(pen, _pixels(joints, sides), is_asked, labels)
        drawn.append(pil_to_bhwc(picture))
    return bhwc_to_image(torch.cat(drawn))


def _pixels(points: Tensor, sides: tuple[int, int]) -> list[tuple[float, ...]]:
    """A pixel's centre is half a pixel from its corner."""
    return [
        tuple(p * side - 0.5 for p, side in zip(xy, sides, strict=True)) for xy in points.tolist()
    ]


def _draw(
    pen: ImageDraw.ImageDraw,
    places: Sequence[tuple[float, ...]],
    asked: Sequence[bool],
    labels: Sequence[str],
) -> None:
    known = {name: places[i] for i, name in enumerate(labels) if asked[i]}
    for a, b in LIMBS:
        if a in known and b in known:
            pen.line([known[a], known[b]], fill=LINE, width=WIDTH)
    for index, (x, y) in enumerate(places):
        if asked[index]:
            box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
            pen.ellipse(box, fill=joint_colour(index, len(places)))
