"""Build the shipped workflows in ComfyUI's own front end and save them as it saves them.

`python -m host.workflows` starts a server and headless Chromium, builds each graph of
workflow_graphs.py, runs it, and writes workflows/<name>.json with a thumbnail, <name>.jpg; then the
blueprint, subgraphs/<name>.json.
"""

import argparse
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from demo.paths import OUTPUT, WORKFLOWS
from host.blueprint import BLUEPRINT, blueprint
from host.client import run_and_fetch
from host.serve import ComfyServer
from host.workflow_graphs import GRAPHS

BLUEPRINTS = Path(__file__).parents[1] / "subgraphs"
MAKE = """
  app.graph.clear();
  const made = {};
  for (const [name, [type, pos, size, values]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    if (!node) throw new Error(`no node ${type}`);
    app.graph.add(node);
    node.pos = pos;
    node.size = [Math.max(size[0], node.size[0]), Math.max(size[1], node.size[1])];
    for (const [key, value] of Object.entries(values)) {
      const widget = key ? node.widgets.find(w => w.name === key) : node.widgets[0];
      widget.value = value;
    }
    const after = (node.widgets || []).find(w => w.name === "control_after_generate");
    if (after) after.value = "fixed";
    made[name] = node;
  }
  for (const [[from, output], [to, input]] of links) {
    const out = made[from].outputs.findIndex(o => o.name === output);
    const into = made[to].inputs.findIndex(i => i.name === input);
    if (out < 0 || into < 0) throw new Error(`no link ${from}.${output} -> ${to}.${input}`);
    made[from].connect(out, made[to], into);
  }
  // What overlaps a node above it is moved down, with room for what nodes show after a run.
  const bottom = node => node.pos[1] + node.size[1] + (grows[node.type] || 0);
  const reaches = (one, other) => one.pos[0] < other.pos[0] + other.size[0];
  const placed = [];
  for (const node of Object.values(made).sort((a, b) => a.pos[1] - b.pos[1])) {
    const beside = placed.filter(other => reaches(node, other) && reaches(other, node));
    for (const other of beside.sort((a, b) => a.pos[1] - b.pos[1])) {
      const isAbove = bottom(node) + gap <= other.pos[1];
      if (!isAbove) node.pos = [node.pos[0], Math.max(node.pos[1], bottom(other) + gap)];
    }
    placed.push(node);
  }
"""
GAP = 60  # pixels between nodes, with the title of the lower one
GROWS = {  # by this many pixels: text and previews that stand on a node after a run
    "PPAP_LoadGuider": 150,
    "PPAP_LoadExperts": 190,
    "PPAP_GuidedKSampler": 110,
    "PPAP_ApplyGuidance": 60,
    "PPAP_TargetMap": 90,
    "PPAP_TargetMasks": 90,
    "PPAP_GuidanceReport": 190,
    "PPAP_ScaleSweep": 110,
}
# Builds a graph: its UI JSON and its API prompt.
BUILD = f"""
async ([nodes, links, gap, grows]) => {{
  {MAKE}
  return [app.graph.serialize(), (await app.graphToPrompt()).output];
}}
"""
# Builds a graph that is one subgraph: its UI JSON.
ENCLOSE = f"""
([nodes, links, gap, grows, blueprint]) => {{
  {MAKE}
  const inside = new Set(Object.keys(blueprint.inside).map(name => made[name]));
  const types = Object.fromEntries(blueprint.shown.map(([name]) => [name, made[name].type]));
  const {{ subgraph, node }} = app.graph.convertToSubgraph(inside);
  for (const [name, widget] of blueprint.shown) {{
    const inner = subgraph.nodes.find(n => n.type === types[name]);
    const slot = inner.inputs.find(i => i.widget && i.widget.name === widget);
    subgraph.addInput(widget, slot.type).connect(slot, inner);
  }}
  subgraph.name = node.title = blueprint.name;
  subgraph.description = blueprint.description;
  subgraph.category = blueprint.category;
  for (const name of Object.keys(blueprint.around)) app.graph.remove(made[name]);
  [node.pos, node.size] = [[0, 60], [400, 180]];
  return app.graph.serialize();
}}
"""


@contextmanager
def front_end(height: int) -> Iterator[tuple]:
    """(page, url) of a page in headless Chromium, 1600 pixels wide, and of its server."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with ComfyServer(OUTPUT / "server") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1600, "height": height}), server.url


def open_front_end(page, url: str) -> None:
    """Load the page. Each graph needs a new one: a page keeps the widgets of removed nodes."""
    page.goto(url)
    page.wait_for_function("() => window.app && window.app.graph && app.extensionManager")
    page.wait_for_timeout(3000)


def write_json(workflow: dict, path: Path) -> None:
    text = json.dumps(workflow, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def thumbnail(pictures_of: dict[str, list[Image.Image]], path: Path) -> None:
    """The first two pictures of every node, in a grid that is about square."""
    shown = [picture for node in sorted(pictures_of, key=int) for picture in pictures_of[node][:2]]
    pictures = [ImageOps.pad(picture, (256, 256)) for picture in shown]
    columns = math.ceil(len(pictures) ** 0.5)
    sheet = Image.new("RGB", (256 * columns, 256 * math.ceil(len(pictures) / columns)))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (256 * (index % columns), 256 * (index // columns)))
    sheet.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(GRAPHS), help="of workflows; default: all")
    args = parser.parse_args()
    with front_end(height=1000) as (page, url):
        for name in args.names:
            open_front_end(page, url)
            workflow, prompt = page.evaluate(BUILD, [*GRAPHS[name](), GAP, GROWS])
            write_json(workflow, WORKFLOWS / f"{name}.json")
            thumbnail(run_and_fetch(url, prompt), WORKFLOWS / f"{name}.jpg")
        open_front_end(page, url)
        values = blueprint()
        nodes = values["around"] | values["inside"]
        enclosed = page.evaluate(ENCLOSE, [nodes, values["links"], GAP, GROWS, values])
        write_json(enclosed, BLUEPRINTS / f"{BLUEPRINT}.json")


if __name__ == "__main__":
    main()
