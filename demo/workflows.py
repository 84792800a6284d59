"""Draw the shipped workflows in ComfyUI's own front end and save them as it saves them.

python -m demo.workflows starts a server and headless Chromium, builds each graph of
workflow_recipes.py, runs it, and writes workflows/<name>.json and its thumbnail <name>.jpg.
"""

import argparse
import io
import json
import shutil
from pathlib import Path

from PIL import Image

from demo.paths import OUTPUT
from demo.serve import ComfyServer
from demo.workflow_client import fetch_images, run_prompt
from demo.workflow_recipes import RECIPES

WORKFLOWS = Path(__file__).parents[1] / "workflows"
BUILD = """
async ([recipe, links]) => {
  app.graph.clear();
  const made = {};
  for (const [name, [type, pos, size, values]] of Object.entries(recipe)) {
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
  return [app.graph.serialize(), (await app.graphToPrompt()).output];
}
"""


def draw(page, name: str) -> tuple[dict, dict]:
    """Build a recipe in the front end: its UI JSON and its API prompt."""
    nodes, links = RECIPES[name]()
    return tuple(page.evaluate(BUILD, [nodes, links]))


def thumbnail(url: str, entry: dict, path: Path) -> None:
    """The first two pictures of every output node, side by side."""
    files = [file for output in entry["outputs"].values() for file in fetch_images(url, output)[:2]]
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    sheet = Image.new("RGB", (256 * len(pictures), 256))
    for index, picture in enumerate(pictures):
        sheet.paste(picture.resize((256, 256)), (256 * index, 0))
    sheet.save(path, quality=88)


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    args = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with ComfyServer(OUTPUT / "server") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(server.url)
        page.wait_for_function("() => window.app && window.app.graph && app.extensionManager")
        page.wait_for_timeout(3000)
        for name in args.names:
            workflow, prompt = draw(page, name)
            text = json.dumps(workflow, indent=1, ensure_ascii=False)
            (WORKFLOWS / f"{name}.json").write_text(text + "\n", "utf-8")
            thumbnail(server.url, run_prompt(server.url, prompt), WORKFLOWS / f"{name}.jpg")


if __name__ == "__main__":
    main()
