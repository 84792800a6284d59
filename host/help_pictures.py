"""Pictures of the nodes for their help pages, and of a graph: `python -m host.help_pictures`.

ComfyUI's own front end draws each node; its picture goes to web/docs/<node id>.png. A workflow
after its run goes to docs/graph.png, for the README. `python -m host.help_pictures NAME ...` draws
some of them.
"""

import argparse
import json
from pathlib import Path

from demo.paths import WORKFLOWS
from host.client import request_json
from host.workflows import ALL_SHOWN, front_end, open_front_end

DOCS = Path(__file__).parents[1] / "web" / "docs"
MARGIN, TITLE = 16, 48  # pixels of the graph; title and badge
EXAMPLES = {  # what stands in widgets that are empty, or name a file of the demo, by default
    "PPAP_LoadGuider": {"guider": "timm/convnext_tiny.in12k_ft_in1k", "allow_download": True},
    "PPAP_TargetClass": {"classes": "lighthouse, speedboat:-1"},
    "PPAP_TargetMasks": {"class_name": "sky", "elsewhere": "sea"},
    "PPAP_GuiderClasses": {"search": "terrier"},
    "PPAP_TargetLikeness": {"cells": 32},
    "PPAP_TargetScore": {"wished": "6.5"},
    "PPAP_TargetWords": {"text": "a lighthouse at dawn:2\na calm sea", "away_from": "fog"},
    "PPAP_TargetCount": {"class_name": "person"},
    "PPAP_AddClassNames": {"names": "a castle\na village\na forest"},
    "PPAP_TargetBoxes": {"boxes": "dog: 0.1 0.4 0.5 0.9\nbicycle: 0.5 0.3 0.95 0.9"},
}
# The node is loaded as from a file: only then does the front end show the text of a text box. It
# stands away from the corner, where menus are.
DRAW = """async ([type, values, margin, title]) => {
  app.graph.clear();
  const made = LiteGraph.createNode(type);
  app.graph.add(made);
  made.size = [Math.max(380, made.size[0]), made.size[1]];
  made.pos = [0, 0];
  for (const widget of made.widgets ?? []) widget.value = values[widget.name] ?? widget.value;
  await app.loadGraphData(app.graph.serialize(), true, false);
  const [node] = app.graph.nodes;
  app.canvas.ds.scale = 1.5;
  app.canvas.ds.offset = [200, 200];
  app.canvas.draw(true, true);
  const rect = app.canvas.canvas.getBoundingClientRect();
  return {
    x: rect.x + 1.5 * (200 - margin), y: rect.y + 1.5 * (200 - title - margin),
    width: 1.5 * (node.size[0] + 2 * margin), height: 1.5 * (node.size[1] + title + 2 * margin),
  };
}"""

GRAPH, GRAPH_FILE = "13 Demo class guidance", Path(__file__).parents[1] / "docs" / "graph.png"
RUN = """async graph => {
  await app.loadGraphData(graph, true, true);
  app.ui.settings.setSettingValue("Comfy.Minimap.Visible", false);
  app.canvas.ds.scale = 0.7;
  app.canvas.ds.offset = [120, 200];
  await app.queuePrompt(0, 1);
}"""
BOUNDS = """margin => {
  const { nodes, groups } = app.graph;
  const boxes = [...nodes.map(n => n.getBounding()), ...groups.map(g => g.boundingRect)];
  const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
  const right = Math.max(...boxes.map(b => b[0] + b[2]));
  const bottom = Math.max(...boxes.map(b => b[1] + b[3]));
  const { scale, offset } = app.canvas.ds;
  const rect = app.canvas.canvas.getBoundingClientRect();
  return {
    x: rect.x + scale * (left + offset[0]) - margin, y: rect.y + scale * (top + offset[1]) - margin,
    width: scale * (right - left) + 2 * margin, height: scale * (bottom - top) + 2 * margin,
  };
}"""


def draw_node(page, name: str) -> None:
    clip = page.evaluate(DRAW, [name, EXAMPLES.get(name, {}), MARGIN, TITLE])
    page.wait_for_timeout(700)
    page.screenshot(path=DOCS / f"{name}.png", clip=clip)


def draw_graph(page) -> None:
    """The workflow after its run; whatever lies over it is hidden."""
    page.set_viewport_size({"width": 1900, "height": 1200})
    page.evaluate(RUN, json.loads((WORKFLOWS / f"{GRAPH}.json").read_text("utf-8")))
    page.wait_for_function(ALL_SHOWN, timeout=240_000)
    page.wait_for_timeout(6000)  # a note about the finished run goes away
    page.screenshot(path=GRAPH_FILE, clip=page.evaluate(BOUNDS, MARGIN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"node ids, or {GRAPH_FILE.stem}; default: all")
    args = parser.parse_args()
    with front_end(height=1600) as (page, url):
        open_front_end(page, url)  # the first page of a new user shows a dialog
        nodes = [n for n in request_json(f"{url}/object_info") if n.startswith("PPAP_")]
        for name in args.names or [*nodes, GRAPH_FILE.stem]:
            open_front_end(page, url)
            if name == GRAPH_FILE.stem:
                draw_graph(page)
            else:
                draw_node(page, name)


if __name__ == "__main__":
    main()
