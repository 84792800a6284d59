"""Lines of text on the node that is running, while it runs (read in ComfyUI 0.30.0, server.py)."""

import sys
from collections.abc import Iterable

from comfy_execution.utils import ExecutionContext, get_executing_context

_last: tuple[ExecutionContext | None, str] = (None, "")  # the node that showed something, and what


def show_on_node(lines: Iterable[str]) -> None:
    """Below the widgets of the running node. Where no server runs they are not even made."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = get_executing_context()
    if server is None or context is None:
        return
    if text := as_sentences("\n".join(lines)):
        global _last
        _last = context, text
        server.send_progress_text(text, context.node_id, server.client_id)


def shown_on_node() -> str:
    """The text that stands on the running node by now; "" if it has shown none."""
    context, text = _last
    return text if context and context == get_executing_context() else ""


def as_sentences(text: str) -> str:
    """`text` with a full stop after each line: the newer design of nodes joins the lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(line if line[-1] in ".,:;" else f"{line}." for line in lines)
