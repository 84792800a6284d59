"""Lines of text on the node that is running, while it runs (read in ComfyUI 0.30.0, server.py)."""

import sys
from collections.abc import Iterable

from comfy_execution.utils import get_executing_context


def show_on_node(lines: Iterable[str]) -> None:
    """Below the widgets of the running node. Where no server runs they are not even made."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = get_executing_context()
    if server is None or context is None:
        return
    if text := as_sentences("\n".join(lines)):
        server.send_progress_text(text, context.node_id, server.client_id)


def as_sentences(text: str) -> str:
    """`text` with a full stop after each line: the newer design of nodes joins the lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(line if line[-1] in ".,:;" else f"{line}." for line in lines)
