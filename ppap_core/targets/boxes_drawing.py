"""Boxes as a picture: outlines and names in the colours of classes; unwanted ones have a cross."""

import colorsys
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from ..pixels import bhwc_to_image, image_to_bhwc, pil_to_bhwc
from .boxes_target import Box, told_name

SIDE = 512  # pixels of the longer side
LINE, BOLD = SIDE // 130, SIDE // 16
TURN = 0.618034  # of the circle of hues, from one class to the next
DIMMED = 0.4  # brightness of a picture behind the boxes


def class_colour(index: int) -> tuple[int, int, int]:
    """In 8 bits; neighbouring classes have hues far apart."""
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(index * TURN % 1, 0.8, 1.0))


def draw_boxes(
    rows: Sequence[Sequence[Box]],
    labels: Sequence[str],
    size: tuple[float, float],
    behind: Tensor | None = None,
    bold: bool = False,
) -> Tensor:
    """The boxes of R pictures -> (R, 3, H, W) in [-1, 1].

    `size`: (width, height), of which the proportions are kept. `behind`: a picture to draw on for
    each, or those of which the first is taken, (N, 3, h, w) in [-1, 1], stretched to them.
    `bold`: for pictures that will be shrunk, without names.
    """
    width, height = (max(1, round(SIDE * side / max(size))) for side in size)
    grounds = [Image.new("RGB", (width, height))] * len(rows)
    if behind is not None:
        behind = behind if len(behind) == len(rows) else behind[:1]
        ground = F.interpolate(behind.float(), (height, width), mode="bilinear", antialias=True)
        shown = DIMMED * 255 * image_to_bhwc(ground.clamp(-1, 1)).expand(len(rows), -1, -1, -1)
        grounds = [Image.fromarray(picture.round().byte().numpy()) for picture in shown]
    names = None if bold else labels
    drawn = [_draw(row, names, ground.copy()) for row, ground in zip(rows, grounds, strict=True)]
    return bhwc_to_image(torch.cat([pil_to_bhwc(picture) for picture in drawn]))


def _draw(row: Sequence[Box], labels: Sequence[str] | None, picture: Image.Image) -> Image.Image:
    """Without `labels` the lines are bold."""
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(SIDE // 32)
    for box in row:
        colour = class_colour(box.index)
        left, top, right, bottom = (
            round(share * side) for share, side in zip(box.corners, picture.size * 2, strict=True)
        )
        edges = left, top, max(left, right - 1), max(top, bottom - 1)
        width = LINE if labels else BOLD
        pen.rectangle(edges, None, colour, width)
        if box.weight < 0:
            pen.line(edges, colour, width)
            pen.line((edges[0], edges[3], edges[2], edges[1]), colour, width)
        if labels:
            pen.text((left + 2 * LINE, top + LINE), told_name(box, labels), colour, font)
    return picture
