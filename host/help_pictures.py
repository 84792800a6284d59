"""Pictures of the nodes for their help pages: `python -m host.help_pictures`.

ComfyUI's own front end draws each node; its picture goes to web/docs/<node id>.png.
"""

import argparse
from pathlib import Path

from host.client import request_json
from host.workflows import front_end, open_front_end

DOCS = Path(__file__).parents[1] / "web" / "docs"
MARGIN, TITLE = 16, 48  # pixels of the graph; title and badge
DRAW = """([type, margin, title]) => {
  app.graph.clear();
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  node.size = [Math.max(380, node.size[0]), node.size[1]];
  node.pos = [0, 0];
  app.canvas.ds.scale = 1.5;
  app.canvas.ds.offset = [100, 100];
  app.canvas.draw(true, true);
  const rect = app.canvas.canvas.getBoundingClientRect();
  return {
    x: rect.x + 1.5 * (100 - margin), y: rect.y + 1.5 * (100 - title - margin),
    width: 1.5 * (node.size[0] + 2 * margin), height: 1.5 * (node.size[1] + title + 2 * margin),
  };
}"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with front_end(height=1600) as (page, url):
        names = [n for n in request_json(f"{url}/object_info") if n.startswith("PPAP_")]
        for name in names:
            open_front_end(page, url)
            clip = page.evaluate(DRAW, [name, MARGIN, TITLE])
            page.wait_for_timeout(700)
            page.screenshot(path=DOCS / f"{name}.png", clip=clip)


if __name__ == "__main__":
    main()
