"""A sheet of pictures in rows and columns, with titles: for previews, the demo and reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .pixels import image_to_pil

GAP, TOP = 4, 34  # pixels between pictures, and for the columns' names


@dataclass(frozen=True)
class GridRow:
    """`images`: (N, 3, H, W) in [-1, 1], one per column. `note` is written small below `title`."""

    title: str
    note: str
    images: Tensor


def draw_grid(columns: Sequence[str], rows: Sequence[GridRow], cell: int = 104) -> Image.Image:
    """Each `GridRow` below the one before, its title on the left; a picture is `cell` pixels wide.

    `columns`: the names above the pictures, cut off where they are wider than a picture.
    """
    font, small = ImageFont.load_default(18), ImageFont.load_default(15)
    height, width = rows[0].images.shape[-2:]
    size = (cell, round(cell * height / width))
    widths = [max(font.getlength(row.title), small.getlength(row.note)) for row in rows]
    left = 24 + round(max(widths))
    sheet = (left + len(columns) * (size[0] + GAP), TOP + len(rows) * (size[1] + GAP))
    canvas = Image.new("RGB", sheet, "white")
    draw = ImageDraw.Draw(canvas)
    for index, name in enumerate(columns):
        x = left + index * (size[0] + GAP) + size[0] // 2
        draw.text((x, TOP // 2), _shortened(name, font, size[0]), "black", font, anchor="mm")
    for index, row in enumerate(rows):
        y = TOP + index * (size[1] + GAP)
        middle = y + size[1] // 2
        draw.text((12, middle - 12 * bool(row.note)), row.title, "black", font, anchor="lm")
        draw.text((12, middle + 12), row.note, "#555555", small, anchor="lm")
        for column, image in enumerate(row.images):
            picture = image_to_pil(image).resize(size, Image.Resampling.BICUBIC)
            canvas.paste(picture, (left + column * (size[0] + GAP), y))
    return canvas


def _shortened(name: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while font.getlength(name) > width and len(name) > 2:
        name = name.rstrip("…")[:-1] + "…"
    return name
