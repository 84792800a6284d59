"""Pictures of the nodes for their help pages: `python -m host.help_pictures`.

ComfyUI's own front end draws each node; its picture goes to web/docs/<node id>.png.
"""

import argparse
from pathlib import Path

from host.client import request_json
from host.workflows import front_end, open_front_end

DOCS = Path(__file__).parents[1] / "web" / "docs"
MARGIN, TITLE = 16, 48  # pixels of the graph; title and badge
EXAMPLES = {  # what stands in widgets that are empty, or name a file of the demo, by default
    "PPAP_LoadGuider": {"guider": "timm/convnext_tiny.in12k_ft_in1k", "allow_download": True},
    "PPAP_TargetClass": {"classes": "lighthouse, speedboat:-1"},
    "PPAP_TargetMasks": {"class_name": "sky", "elsewhere": "sea"},
    "PPAP_GuiderClasses": {"search": "terrier"},
}
# The node is loaded as from a file: only then does the front end show the text of a text box. It
# stands away from the corner, where menus are.
DRAW = """async ([type, values, margin, title]) => {
  app.graph.clear();
  const made = LiteGraph.createNode(type);
  app.graph.add(made);
  made.size = [Math.max(380, made.size[0]), made.size[1]];
  made.pos = [0, 0];
  for (const widget of made.widgets) widget.value = values[widget.name] ?? widget.value;
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


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with front_end(height=1600) as (page, url):
        open_front_end(page, url)  # the first page of a new user shows a dialog
        names = [n for n in request_json(f"{url}/object_info") if n.startswith("PPAP_")]
        for name in names:
            open_front_end(page, url)
            clip = page.evaluate(DRAW, [name, EXAMPLES.get(name, {}), MARGIN, TITLE])
            page.wait_for_timeout(700)
            page.screenshot(path=DOCS / f"{name}.png", clip=clip)


if __name__ == "__main__":
    main()
