"""A line of text on the node that is running, while it runs (read in ComfyUI 0.30.0, server.py)."""

import sys

from comfy_execution.utils import get_executing_context


def show_on_node(text: str) -> None:
    """Below the widgets of the running node; nowhere if there is no server, or no one looks."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(text, context.node_id, server.client_id)
