// What a node of this pack tells is shown below its widgets, in the place where the front end
// shows live text. ComfyUI sends "executed" again for nodes that it takes from its cache.
import { api } from "../../scripts/api.js";

api.addEventListener("executed", ({ detail }) => {
  const text = detail.output?.ppap_text?.[0];
  if (!text) return;
  const nodeId = detail.display_node ?? detail.node;
  api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId, text } }));
});
