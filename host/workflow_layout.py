"""Where the nodes of a graph stand: in columns from left to right, so that every link runs forward.

A graph has bands beside each other: one or more of inputs, one of outputs, one of what is told of
them. Columns are counted from the left in each; of the outputs from the right, where the pictures
are. Boxes fall down upon each other, as far as they fit.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import NamedTuple

from host.workflow_parts import Box, Graph, Node

ACROSS, DOWN = 30, 58  # pixels between nodes; the title of the lower one stands in between
FRAME, FRAME_TITLE = 12, 75  # from a frame to its nodes: at the sides, and at the top
COLLAPSED = 200  # the width of a collapsed node; 225 in the newer design, where ACROSS shrinks
GROWS = {  # by this many pixels: text and previews that stand on a node after a run
    "PPAP_LoadGuider": 195,
    "PPAP_LoadPixelModel": 20,
    "PPAP_LoadExperts": 250,
    "PPAP_GuidedKSampler": 110,
    "PPAP_ApplyGuidance": 60,
    "PPAP_TargetMap": 330,
    "PPAP_TargetPose": 330,
    "PPAP_TargetWords": 60,
    "PPAP_TargetStyle": 60,
    "PPAP_TargetBoxes": 330,
    "PPAP_TargetCount": 40,
    "LoadImage": 30,
    "PPAP_TargetMasks": 320,
    "PPAP_GuidanceReport": 190,
    "PPAP_ScaleSweep": 110,
    "PPAP_TrainExperts": 500,
}
SCREEN, READABLE = (1600, 1000), 0.6  # pixels; below 0.57 the front end leaves out a node's text
Sizes = Mapping[str, Sequence[float]]  # (width, height) of every node, by name
Arrows = Sequence[tuple[str, str]]


class Layout(NamedTuple):
    """`positions` of nodes by name; `frames`: (title, x, y, width, height)."""

    positions: dict[str, tuple[float, float]]
    frames: list[tuple[str, float, float, float, float]]

    def zoom(self, width: float, height: float) -> float:
        """How large the front end shows the whole on a screen: it fits it to three quarters."""
        right = max(x + w for _, x, _, w, _ in self.frames)
        bottom = max(y + h for _, _, y, _, h in self.frames)
        return 0.75 * min(width / right, height / bottom)


def place(graph: Graph, sizes: Sizes) -> Layout:
    """`sizes`: as the front end has made the nodes. The first arrangement that can be read."""
    arrows = [(start, end) for (start, _), (end, _) in graph.links]
    layouts = (
        _placed(inputs, graph, arrows, sizes) for inputs in _arrangements(graph.inputs, arrows)
    )
    return max(layouts, key=lambda layout: min(layout.zoom(*SCREEN), READABLE))


def _arrangements(boxes: Sequence[Box], arrows: Arrows) -> Iterator[list[list[Box]]]:
    """All in one band, as they are written; then in more bands and in other orders.

    The first box, the note, stays where it is, and no arrow leads to a band further left.
    """
    for order in permutations(boxes[1:]):
        for cuts in product((False, True), repeat=len(order)):
            bands = [[boxes[0]]]
            for box, cut in zip(order, cuts, strict=True):
                bands += [[]] if cut else []
                bands[-1].append(box)
            band_of = {n: i for i, band in enumerate(bands) for box in band for n in box.nodes}
            inside = [(a, b) for a, b in arrows if a in band_of and b in band_of]
            if all(band_of[start] <= band_of[end] for start, end in inside):
                yield bands


def _placed(inputs: Sequence[Sequence[Box]], graph: Graph, arrows: Arrows, sizes: Sizes) -> Layout:
    layout, left = Layout({}, []), 0.0
    for boxes in (*inputs, graph.outputs, graph.after):
        band = Band(boxes, arrows, sizes, left, from_right=boxes is graph.outputs)
        for box in boxes:
            band.drop(box, layout)
        left = band.right + 2 * FRAME
    return layout


class Band:
    """Columns that begin at `left`, filled from above."""

    def __init__(
        self, boxes: Sequence[Box], arrows: Arrows, sizes: Sizes, left: float, from_right: bool
    ):
        self.nodes = {name: node for box in boxes for name, node in box.nodes.items()}
        self.sizes = sizes
        inside = [(a, b) for a, b in arrows if a in self.nodes and b in self.nodes]
        self.column = columns(list(self.nodes), inside, from_right)
        self.left, self.right = {}, left
        for index in sorted(set(self.column.values())):
            self.left[index] = self.right
            widths = [self.size(n)[0] for n in self.nodes if self.column[n] == index]
            self.right += max(widths) + ACROSS
        notes = [self.sizes[name][0] for name, node in self.nodes.items() if is_note(node)]
        self.right = max([self.right, *(left + width + ACROSS for width in notes)])
        self.bottom = dict.fromkeys(self.left, 0.0)

    def size(self, name: str) -> tuple[float, float]:
        """A note's width does not count: it lies across the columns."""
        node = self.nodes[name]
        width, height = (COLLAPSED, 0.0) if node.collapsed else self.sizes[name]
        return (0.0 if is_note(node) else width), height + GROWS.get(node.type, 0) + node.grows

    def drop(self, box: Box, into: Layout) -> None:
        """Place a box below those that its columns have already."""
        first, last = self._span(box)
        span = [index for index in self.left if first <= index <= last]
        top = max(self.bottom[index] for index in span)
        below = dict.fromkeys(span, top + (FRAME_TITLE if box.title else 0))
        right = 0.0
        for name in box.nodes:
            index = self.column[name]
            width, height = self.size(name)
            into.positions[name] = self.left[index], below[index]
            below[index] += height + DOWN
            right = max(right, self.left[index] + width)
        bottom = max(below.values()) - DOWN + FRAME
        if box.title:
            left = self.left[first] - FRAME
            into.frames.append((box.title, left, top, right + FRAME - left, bottom - top))
        self.bottom |= dict.fromkeys(span, bottom + DOWN / 2)

    def _span(self, box: Box) -> tuple[int, int]:
        """The first and the last column that a box covers."""
        used = [self.column[name] for name in box.nodes]
        ends = [
            self.left[self.column[name]] + self.sizes[name][0]
            for name, node in box.nodes.items()
            if is_note(node)
        ]
        covered = [index for index, left in self.left.items() if ends and left < max(ends)]
        return min(used), max(used + covered)


def is_note(node: Node) -> bool:
    return node.type == "MarkdownNote"


def columns(names: Sequence[str], arrows: Arrows, from_right: bool) -> dict[str, int]:
    """A column for each name, so that every arrow leads to a later one.

    As early as possible, sources as late as possible; `from_right`: all as late as possible.
    """
    if from_right:
        back = columns(names, [(b, a) for a, b in arrows], from_right=False)
        return {name: -index for name, index in back.items()}
    column = dict.fromkeys(names, 0)
    for _ in names:
        for start, end in arrows:
            column[end] = max(column[end], column[start] + 1)
    ends = {end for _, end in arrows}
    for source in {start for start, _ in arrows} - ends:
        column[source] = min(column[end] for start, end in arrows if start == source) - 1
    return column
