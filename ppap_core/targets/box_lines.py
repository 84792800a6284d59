"""Boxes as people type them: `cat: 0.1 0.2 0.5 0.8`; with a weight below 0 without a cat."""

import re
from collections.abc import Sequence

from .box_sources import EVERYWHERE, Found, in_shares
from .class_names import WIDE, find_class

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
LINE = re.compile(
    rf"(?P<name>.+?)\s*:\s*(?P<box>{NUMBER}(?:[\s,]+{NUMBER}){{3}})\s*(?::\s*(?P<weight>{NUMBER}))?"
)
NOWHERE = re.compile(r"(?P<name>.+?)\s*:\s*(?P<weight>-(?:\d+\.?\d*|\.\d+))")
NEXT = re.compile(r"-{3,}")  # a line that begins the next picture's boxes
FORM = "class: left top right bottom, such as cat: 0.1 0.2 0.5 0.8"


def read_box_lines(
    text: str, labels: Sequence[str], size: tuple[float, float]
) -> list[list[Found]]:
    """The boxes of each picture, whose lines are parted by `---`; no pictures if there are none.

    `size`: (width, height) of the picture in which boxes of pixels, with any number above 1, are
    measured; 0 where it is not known. A line without a box, `cat: -1`, is of the whole picture.
    ValueError, in one line, for a line of another form, a class that the guider does not know, and
    pixels without a size.
    """
    rows: list[list[Found]] = [[]]
    for line in filter(None, map(str.strip, text.translate(WIDE).splitlines())):
        if NEXT.fullmatch(line):
            rows.append([])
        else:
            rows[-1].append(_read_line(line, labels, size))
    if rows == [[]]:
        return []
    if not all(rows):
        raise ValueError(
            f"picture {rows.index([]) + 1} of the widget boxes has no line: each --- is followed "
            f"by the boxes of the next picture"
        )
    return rows


def _read_line(line: str, labels: Sequence[str], size: tuple[float, float]) -> Found:
    if not (read := LINE.fullmatch(line) or NOWHERE.fullmatch(line)):
        raise ValueError(
            f"the widget boxes has a line {line!r}: write {FORM}, in shares of the picture or in "
            f"pixels; a weight may follow a second colon"
        )
    corners = EVERYWHERE
    if "box" in read.groupdict():
        left, top, right, bottom = map(float, re.split(r"[\s,]+", read["box"]))
        corners = left, top, right, bottom
        if max(corners) > 1:
            corners = in_shares(corners, size, f"the line {line!r} of the widget boxes")
    weight = float(read["weight"] or 1)
    if not weight:
        raise ValueError(
            f"the line {line!r} of the widget boxes has the weight 0: delete it, or change its "
            f"weight (below 0: none of the class in the box)"
        )
    return Found(find_class(read["name"], labels), corners, weight, repr(line))
