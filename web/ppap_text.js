// What a node of this pack tells is shown below its widgets, in the place where the front end
// shows live text. ComfyUI sends "executed" again for nodes that it takes from its cache.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const LETTER = [7.5, 16]; // about the width and the height of one, in pixels
const MARGIN = 40;
const MOST = 12; // lines; the rest is scrolled

api.addEventListener("executed", ({ detail }) => {
  const text = detail.output?.ppap_text?.join("\n"); // of each run over a list
  if (!text) return;
  const nodeId = detail.display_node ?? detail.node;
  api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId, text } }));
  if (!LiteGraph.vueNodesMode) makeRoom(app.graph.getNodeById(nodeId), text);
});

// The classic design shows two lines of a text, however long it is.
function makeRoom(node, text) {
  const widget = node?.widgets?.find(({ name }) => name === "$$node-text-preview");
  if (!widget) return;
  const [width, height] = LETTER;
  const lines = Math.min(MOST, Math.ceil((text.length * width) / (node.size[0] - MARGIN)));
  widget.options.getMinHeight = () => lines * height + MARGIN / 2;
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}
