"""Lines of text on the node that is running, while it runs (read in ComfyUI 0.30.0, server.py)."""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from comfy_execution.utils import ExecutionContext, get_executing_context


class _Shown(NamedTuple):
    """What stands on the node of `context`: the latest text, and below it `lasting` lines."""

    context: ExecutionContext | None = None
    text: str = ""
    lasting: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.text, *self.lasting)))


_shown = _Shown()


def show_on_node(lines: Iterable[str], lasting: bool = False) -> None:
    """Below the widgets of the running node. Where no server runs they are not even made.

    `lasting`: these lines stay there, below what is shown later in the same run of the node.
    """
    global _shown
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    context = get_executing_context()
    if server is None or context is None:
        return
    if text := as_sentences("\n".join(lines)):
        shown = _shown if _shown.context == context else _Shown(context)
        both = tuple(dict.fromkeys((*shown.lasting, text)))
        _shown = shown._replace(lasting=both) if lasting else shown._replace(text=text)
        server.send_progress_text(str(_shown), context.node_id, server.client_id)


def shown_on_node() -> str:
    """The text that stands on the running node by now; "" if it has shown none."""
    context = get_executing_context()
    return str(_shown) if context and context == _shown.context else ""


def as_sentences(text: str) -> str:
    """`text` with a full stop after each line: the newer design of nodes joins the lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(line if line[-1] in ".,:;" else f"{line}." for line in lines)
