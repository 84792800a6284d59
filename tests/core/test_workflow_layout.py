"""The shipped graphs: no node lies over another, before a run or with what it shows after one."""

import json
from itertools import combinations

import pytest

from demo.paths import WORKFLOWS
from host.workflows import GROWS

TITLE = 30  # pixels above a node's position


def boxes(graph: dict) -> list[tuple[str, float, float, float, float]]:
    found = []
    for node in graph["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        bottom = y + height + GROWS.get(node["type"], 0)
        found.append((node["type"], x, y - TITLE, x + width, bottom))
    return found


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_no_node_lies_over_another(path):
    graph = json.loads(path.read_text("utf-8"))
    for one, other in combinations(boxes(graph), 2):
        is_beside = one[3] <= other[1] or other[3] <= one[1]
        is_above = one[4] <= other[2] or other[4] <= one[2]
        assert is_beside or is_above, (one, other)
