"""The shipped graphs as people see them: no node lies over another, before and after a run."""

import json
from itertools import combinations

import pytest

from demo.paths import WORKFLOWS
from host.client import request_json
from tests.quick_runs import QUICK

ALL = sorted(WORKFLOWS.glob("*.json"))
OPEN = "graph => app.loadGraphData(graph, true, true, 'shipped')"
DESIGN = "vue => app.ui.settings.setSettingValue('Comfy.VueNodes.Enabled', vue)"
RUN = """values => {
  for (const node of app.graph.nodes) {
    for (const [name, value] of Object.entries(values[node.type] ?? {})) {
      node.widgets.find(widget => widget.name === name).value = value;
    }
  }
  return app.queuePrompt(0, 1);
}"""
# (title, left, top, right, bottom) of every node; in the newer design a node is an element.
BOXES = """vue => app.graph.nodes.map(node => {
  if (!vue) {
    const [x, y, width, height] = node.getBounding();
    return [node.title, x, y, x + width, y + height];
  }
  const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
  const sides = [box.left, box.top, box.right, box.bottom];
  return [node.title, ...sides.map(side => side / app.canvas.ds.scale)];
})"""
CLOSE = 1.0  # pixels that do not count

# Without a browser, tests/core/test_workflow_layout.py looks at the same boxes in every run.
pytestmark = pytest.mark.slow


def overlaps(boxes: list) -> list[tuple[str, str]]:
    return [
        (one[0], other[0])
        for one, other in combinations(boxes, 2)
        if min(one[3], other[3]) - max(one[1], other[1]) > CLOSE
        and min(one[4], other[4]) - max(one[2], other[2]) > CLOSE
    ]


def wait_until_idle(page, url: str) -> None:
    page.wait_for_timeout(1000)
    while any(request_json(f"{url}/queue").values()):
        page.wait_for_timeout(500)
    page.wait_for_timeout(1500)


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "newer"])
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_no_node_lies_over_another(comfyui_page, server, path, vue):
    page = comfyui_page
    page.keyboard.press("Escape")
    page.evaluate(DESIGN, vue)
    try:
        page.evaluate(OPEN, json.loads(path.read_text("utf-8")))
        page.wait_for_timeout(1500)
        page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        page.wait_for_timeout(1000)
        assert overlaps(page.evaluate(BOXES, vue)) == []
        page.evaluate(RUN, QUICK)
        wait_until_idle(page, server.url)
        assert page.evaluate("() => app.lastExecutionError ?? null") is None
        assert overlaps(page.evaluate(BOXES, vue)) == []
    finally:
        page.evaluate(DESIGN, False)
