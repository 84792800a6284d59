"""The shipped graphs: no node lies over another, before a run or with what it shows after one."""

import json
from itertools import combinations

import pytest

from demo.paths import WORKFLOWS
from host.workflow_layout import COLLAPSED, GROWS

FILES = sorted(WORKFLOWS.glob("*.json"))
TITLE = 30  # pixels above a node's position


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
