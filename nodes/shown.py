"""Text that stands on a node after it ran."""

from comfy_api.latest import ui

from ..ppap_core.comfy_bridge.live import as_sentences


def text_on_node(text: str) -> dict:
    """For NodeOutput's `ui`: web/ppap_text.js shows it; "text" is where clients look for one."""
    return ui.PreviewText(text).as_dict() | {"ppap_text": (as_sentences(text),)}
