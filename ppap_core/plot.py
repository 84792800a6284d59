"""Curves as a picture, drawn with Pillow: panels one above the other, over one x axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#666666")
COLOURS += ("#a6761d", "#17becf", "#bcbd22", "#111111")
INK, FAINT = "#222222", "#dddddd"
LEFT, RIGHT, BOTTOM, LINE = 84, 20, 48, 24  # pixels: around all panels; a line of text
SCALE = 2  # drawn larger and shrunk, so that lines are smooth


@dataclass(frozen=True)
class Curve:
    """`points`: (x, y); where y is not finite the curve has a gap. `colour`: which of COLOURS."""

    points: Sequence[tuple[float, float]]
    colour: int = 0


@dataclass(frozen=True)
class Panel:
    """`low`, `high`: what the y axis holds at least. `unit`: "", "%" (of shares) or "whole"."""

    title: str
    curves: Sequence[Curve]
    low: float = math.inf
    high: float = -math.inf
    is_log: bool = False
    unit: str = ""

    def span(self) -> tuple[float, float]:
        """The lowest and highest y of the axis, apart from each other; logarithms where is_log."""
        values = [self.place(y) for curve in self.curves for _, y in curve.points]
        values = [y for y in values if math.isfinite(y)] or [0.0, 1.0]
        low, high = min(*values, self.low), max(*values, self.high)
        room = 0.06 * (high - low) or 0.5
        return low - room, high + room

    def place(self, y: float) -> float:
        if not self.is_log:
            return y
        return math.log10(y) if y > 0 else math.nan

    def ticks(self) -> list[tuple[float, str]]:
        """Places on the axis, and what stands there."""
        low, high = self.span()
        if self.is_log:
            places = range(math.ceil(low), math.floor(high) + 1)
            return [(p, f"1e{p}") for p in places][:: max(1, len(places) // 4)]
        step = nice_step(high - low, whole=self.unit == "whole")
        places = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        places = [p for p in places if self.unit != "%" or 0 <= p <= max(1, self.high)]
        return [(p, f"{100 * p:.3g} %" if self.unit == "%" else f"{p:.3g}") for p in places]


def nice_step(span: float, whole: bool = False) -> float:
    """1, 2 or 5 times a power of ten, of which `span` holds three to six; at least 1 if `whole`."""
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * digit for digit in (5, 2, 1) if power * digit <= span / 3)
    return max(1.0, step) if whole else step


def draw_panels(
    panels: Sequence[Panel], legend: Sequence[str], x_title: str, size: tuple[int, int]
) -> Image.Image:
    """`panels` over x from 1 on the left to 0 on the right. `legend`: what each colour stands for.

    `size`: (width, height) in pixels.
    """
    canvas = Image.new("RGB", [SCALE * side for side in size], "white")
    draw = ImageDraw.Draw(canvas)
    draw_legend(draw, legend)
    top = LINE * len(legend) + 12
    height = (size[1] - top - BOTTOM) / len(panels)
    for index, panel in enumerate(panels):
        upper = top + index * height
        draw_panel(draw, panel, (LEFT, upper + LINE, size[0] - RIGHT, upper + height - 10))
    for x in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
        place = size[0] - RIGHT - x * (size[0] - LEFT - RIGHT)
        write(draw, (place, size[1] - BOTTOM + 4), f"{x:g}", "mt")
    write(draw, ((LEFT + size[0] - RIGHT) / 2, size[1] - 8), x_title, "mb")
    return canvas.resize(size, Image.Resampling.LANCZOS)


def draw_legend(draw: ImageDraw.ImageDraw, legend: Sequence[str]) -> None:
    for index, name in enumerate(legend):
        y = 8 + LINE * index + LINE / 2
        line(draw, [(LEFT, y), (LEFT + 28, y)], COLOURS[index % len(COLOURS)], 3)
        write(draw, (LEFT + 38, y), name, "lm")


def draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, box: tuple[float, ...]) -> None:
    """`box`: left, upper, right and lower edge in pixels."""
    left, upper, right, lower = box
    low, high = panel.span()

    def at(x: float, y: float) -> tuple[float, float]:
        return right - x * (right - left), lower - (y - low) / (high - low) * (lower - upper)

    write(draw, (left, upper - 4), panel.title, "lb")
    for place, name in panel.ticks():
        y = at(0, place)[1]
        line(draw, [(left, y), (right, y)], FAINT, 1)
        write(draw, (left - 8, y), name, "rm")
    line(draw, [(left, upper), (left, lower), (right, lower)], INK, 1)
    for curve in panel.curves:
        colour = COLOURS[curve.colour % len(COLOURS)]
        points = [at(x, panel.place(y)) for x, y in curve.points]
        for pair in pairwise(points):
            if all(math.isfinite(y) for _, y in pair):
                line(draw, list(pair), colour, 2.5)
        for x, y in points:
            if math.isfinite(y):
                draw.ellipse([SCALE * v for v in (x - 3, y - 3, x + 3, y + 3)], colour)


def line(
    draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: str, width: float
) -> None:
    draw.line([SCALE * v for point in points for v in point], colour, round(SCALE * width))


def write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str) -> None:
    draw.text([SCALE * v for v in place], text, INK, text_font(), anchor=anchor)


@cache
def text_font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(15 * SCALE)
