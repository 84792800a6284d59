"""Build the shipped workflows in ComfyUI's own front end and save them as it saves them.

`python -m host.workflows` starts a server and headless Chromium, builds each graph of
workflow_graphs.py, runs it, and writes workflows/<name>.json with a thumbnail, <name>.jpg; then the
blueprints, subgraphs/<name>.json. Workflows on one's own checkpoint run with the demo's models in
the place of theirs (stand_ins.py).
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from demo.paths import OUTPUT, WORKFLOWS
from host.blueprints import BLUEPRINTS
from host.client import run_and_fetch
from host.serve import ComfyServer
from host.stand_ins import with_demo_models, write_photograph
from host.workflow_graphs import GRAPHS
from host.workflow_layout import place
from host.workflow_parts import Graph

SUBGRAPHS = Path(__file__).parents[1] / "subgraphs"
VIEW = {"scale": 0.9, "offset": [416, 110]}  # the front end's own, before anything is drawn
# Makes the nodes of a graph, linked; returns their sizes.
MAKE = """
([nodes, links]) => {
  app.graph.clear();
  window.made = {};
  for (const [name, [type, values, size, title, collapsed, models]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    if (!node) throw new Error(`no node ${type}`);
    app.graph.add(node);
    const needed = node.computeSize();
    node.size = [Math.max(size[0], needed[0]), Math.max(size[1], needed[1])];
    if (title) node.title = title;
    if (collapsed) node.flags.collapsed = true;
    if (models.length) node.properties.models = models;
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
  return Object.fromEntries(Object.entries(made).map(([name, node]) => [name, [...node.size]]));
}
"""
# Places what MAKE has made, and draws frames; returns the graph's UI JSON and its API prompt.
ARRANGE = """
async ([positions, frames, [widgets, pictures]]) => {
  for (const [name, position] of Object.entries(positions)) made[name].pos = position;
  for (const [title, x, y, width, height] of frames) {
    const frame = new LiteGraph.LGraphGroup(title);
    [frame.pos, frame.size, frame.color] = [[x, y], [width, height], "#3f789e"];
    app.graph.add(frame);
  }
  const id = name => String(made[name].id);
  app.graph.extra.linearData = {
    inputs: widgets.map(([name, widget]) => [id(name), widget]), outputs: pictures.map(id) };
  return [app.graph.serialize(), (await app.graphToPrompt()).output];
}
"""
# Turns what MAKE and ARRANGE have made into one subgraph; returns the graph's UI JSON.
ENCLOSE = """
blueprint => {
  const inside = new Set(blueprint.inside.map(name => made[name]));
  const types = Object.fromEntries(blueprint.shown.map(([name]) => [name, made[name].type]));
  const { subgraph, node } = app.graph.convertToSubgraph(inside);
  for (const [name, widget] of blueprint.shown) {
    const inner = subgraph.nodes.find(n => n.type === types[name]);
    const slot = inner.inputs.find(i => i.widget && i.widget.name === widget);
    subgraph.addInput(widget, slot.type).connect(slot, inner);
  }
  subgraph.name = node.title = blueprint.name;
  subgraph.description = blueprint.description;
  subgraph.category = "PPAP";
  for (const name of blueprint.around) app.graph.remove(made[name]);
  [node.pos, node.size] = [[0, 60], [400, 180]];
  return app.graph.serialize();
}
"""
# Whether all nodes that save or preview pictures show theirs.
ALL_SHOWN = """() => app.graph.nodes.filter(n => /SaveImage|PreviewImage/.test(n.type))
  .every(n => (n.imgs || []).some(i => i.complete && i.naturalWidth > 0))"""


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


def draw(page, graph: Graph, framed: bool = True) -> tuple[dict, dict]:
    """The graph as the front end saves it, and as a prompt."""
    sizes = page.evaluate(MAKE, [graph.nodes, graph.links])
    positions, frames = place(graph, sizes)
    return page.evaluate(ARRANGE, [positions, frames if framed else [], graph.app])


def write_json(workflow: dict, path: Path) -> None:
    text = json.dumps(workflow, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def thumbnail(pictures_of: dict[str, list[Image.Image]], path: Path) -> None:
    """The first picture of every node, then the second ones, as many as fill a grid."""
    nodes = [pictures_of[node] for node in sorted(pictures_of, key=int)]
    shown = [pictures[nth] for nth in (0, 1) for pictures in nodes if len(pictures) > nth]
    columns = 3 if len(shown) >= 6 else 2
    rows = min(len(shown) // columns, columns)
    sheet = Image.new("RGB", (256 * columns, 256 * rows))
    for index, picture in enumerate(shown[: rows * columns]):
        square = ImageOps.pad(picture, (256, 256))
        sheet.paste(square, (256 * (index % columns), 256 * (index // columns)))
    sheet.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of workflows and blueprints; default: all")
    parser.add_argument("--no-pictures", action="store_true", help="run none: no new thumbnails")
    args = parser.parse_args()
    write_photograph(OUTPUT / "server" / "input")
    with front_end(height=1000) as (page, url):
        for name in args.names or (*GRAPHS, *BLUEPRINTS):
            open_front_end(page, url)
            if name in BLUEPRINTS:
                draw(page, BLUEPRINTS[name].graph, framed=False)
                enclosed = page.evaluate(ENCLOSE, BLUEPRINTS[name].described())
                write_json(enclosed, SUBGRAPHS / f"{name}.json")
                continue
            workflow, prompt = draw(page, GRAPHS[name])
            workflow["extra"]["ds"] = VIEW
            write_json(workflow, WORKFLOWS / f"{name}.json")
            if not args.no_pictures:
                pictures = run_and_fetch(url, with_demo_models(prompt))
                thumbnail(pictures, WORKFLOWS / f"{name}.jpg")


if __name__ == "__main__":
    main()
