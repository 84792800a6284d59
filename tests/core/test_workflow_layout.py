"""The shipped graphs: no node lies over another, before a run or with what it shows after one."""

import json
from itertools import combinations

import pytest

from demo.paths import WORKFLOWS
from host.workflow_layout import COLLAPSED, GROWS

FILES = sorted(WORKFLOWS.glob("*.json"))
TITLE = 30  # pixels above a node's position
MARGIN = 10  # pixels around all nodes
TEXT_IS_LEFT_OUT = 8 / 14  # below this zoom: 14 pixels are then smaller than 8


def boxes(graph: dict) -> list[tuple[str, float, float, float, float]]:
    found = []
    for node in graph["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        if node["flags"].get("collapsed"):
            width, height = COLLAPSED, 0
        bottom = y + height + GROWS.get(node["type"], 0)
        found.append((node["type"], x, y - TITLE, x + width, bottom))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_node_lies_over_another(path):
    graph = json.loads(path.read_text("utf-8"))
    for one, other in combinations(boxes(graph), 2):
        is_beside = one[3] <= other[1] or other[3] <= one[1]
        is_above = one[4] <= other[2] or other[4] <= one[2]
        assert is_beside or is_above, (one, other)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_graphs_on_ones_own_checkpoint_can_be_read_as_they_open(path):
    """The front end fits a template to three quarters of the canvas, here of 1600 x 1000 pixels."""
    graph = json.loads(path.read_text("utf-8"))
    nodes = boxes(graph | {"nodes": [node | {"type": ""} for node in graph["nodes"]]})
    width = max(box[3] for box in nodes) - min(box[1] for box in nodes) + 2 * MARGIN
    height = max(box[4] for box in nodes) - min(box[2] for box in nodes) + 2 * MARGIN
    own = "Demo" not in path.stem
    assert 0.75 * min(1600 / width, 1000 / height) > (TEXT_IS_LEFT_OUT if own else 0.4)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wires_run_from_left_to_right(path):
    graph = json.loads(path.read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for _, start, _, end, _, _ in graph["links"]:
        right = nodes[start]["pos"][0] + (
            COLLAPSED if nodes[start]["flags"].get("collapsed") else nodes[start]["size"][0]
        )
        assert right < nodes[end]["pos"][0], (nodes[start]["type"], nodes[end]["type"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_frames_hold_their_nodes_and_do_not_cross(path):
    graph = json.loads(path.read_text("utf-8"))
    frames = [frame["bounding"] for frame in graph["groups"]]
    assert len(frames) >= 4
    for (x, y, width, height), (a, b, wide, high) in combinations(frames, 2):
        assert x + width <= a or a + wide <= x or y + height <= b or b + high <= y
    for kind, left, top, right, bottom in boxes(graph):
        inside = [
            x <= left and y <= top and right <= x + width and bottom <= y + height
            for x, y, width, height in frames
        ]
        assert any(inside) or kind == "MarkdownNote"
