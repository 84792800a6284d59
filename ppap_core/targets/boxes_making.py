"""A target of boxes from all that a user gave, fitted to the picture that is to be made."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .box_sources import EVERYWHERE, Found
from .boxes_drawing import draw_boxes
from .boxes_target import WHOLE, Box, BoxesTarget, told_name
from .map_target import Frame, MapTarget
from .pose_making import fit_points
from .wording import listed

LEAST = 0.01  # of a side of the picture: what is smaller cannot be seen
Size = tuple[float, float]  # (width, height)


def build_boxes_target(
    labels: Sequence[str],
    sources: Sequence[list[list[Found]]],
    outside: float,
    size: Size,
    frame: Frame,
    behind: Tensor | None = None,
) -> MapTarget:
    """`sources`: of each the boxes of every picture, of one picture for all, or none.

    `size`: of the picture that boxes are shares of, 0 where it is not known. `behind`: a picture to
    show them on, (R, 3, H, W) in [-1, 1]. ValueError, in one line, if there is no box, if one is
    outside the picture, or if sources are for different numbers of pictures.
    """
    given = _join([source for source in sources if source])
    size = size if all(size) else (frame.width or 1, frame.height or 1)
    _, framed = fit_points(torch.zeros(1, 2), size, frame)
    cut: list[str] = []
    rows = [[_fit(box, size, frame, cut) for box in row] for row in given]
    target = BoxesTarget(rows, len(labels), outside)
    shown = framed if not frame.width or not frame.height else (frame.width, frame.height)
    preview = draw_boxes(rows, labels, shown, behind if frame.fit == "stretch" else None)
    lines = [f"boxes for {len(rows)} picture{'s' * (len(rows) > 1)}: {_told(rows, labels)}"]
    if outside and any(box.weight > 0 for row in rows for box in row):
        lines.append("none of these classes elsewhere")
    if cut:
        lines.append(f"cut off at the picture's edge: {listed(list(dict.fromkeys(cut)), 'and')}")
    return MapTarget(target, preview, "\n".join(lines))


def _join(known: Sequence[list[list[Found]]]) -> list[list[Found]]:
    """The boxes of each picture, from all sources that have any."""
    if not known:
        raise ValueError(
            "Target Boxes has no box: write one into the widget boxes, or connect the socket "
            "bboxes or mask"
        )
    num = max(map(len, known))
    if any(len(source) not in (1, num) for source in known):
        raise ValueError(
            f"the boxes are for {listed([str(len(source)) for source in known], 'and')} pictures: "
            f"give those of one picture for all, or of each"
        )
    return [[box for s in known for box in s[k if len(s) > 1 else 0]] for k in range(num)]


def _fit(found: Found, size: Size, frame: Frame, cut: list[str]) -> Box:
    """Inside the picture; `cut` gets the name of what was not."""
    if found.corners == EVERYWHERE:
        return Box(found.index, WHOLE, found.weight)
    points, _ = fit_points(torch.tensor(found.corners).view(2, 2), size, frame)
    low, high = points.amin(0), points.amax(0)
    inside = torch.cat((low, high)).clamp(0, 1)
    if (inside[2:] - inside[:2]).min() < LEAST:
        raise ValueError(
            f"{found.told} is {'outside' if _is_apart(low, high) else 'a line or a point of'} the "
            f"picture: left, top, right and bottom are 0 to 1, or pixels of it; the widgets fit, "
            f"width and height move them"
        )
    if (torch.cat((low, high)) - inside).abs().max() > LEAST:
        cut.append(found.told)
    return Box(found.index, tuple(inside.tolist()), found.weight)


def _is_apart(low: Tensor, high: Tensor) -> bool:
    return bool((high <= LEAST).any() or (low >= 1 - LEAST).any())


def _told(rows: Sequence[Sequence[Box]], labels: Sequence[str]) -> str:
    """ "2 cat, 1 dog and no bird"; of several pictures, of the first."""
    first = sorted(rows[0], key=lambda box: box.weight < 0)  # what is wanted comes first
    names = [told_name(box, labels) for box in first]
    wanted = {told_name(box, labels) for box in first if box.weight > 0}
    counts = [
        f"{names.count(name)} {name}" if name in wanted else name for name in dict.fromkeys(names)
    ]
    return listed(counts, "and", most=6) + (" in the first" if len(rows) > 1 else "")
