"""Text and pictures that stand on a node after it ran."""

from collections.abc import Callable
from functools import wraps

from comfy_api.latest import io, ui
from torch import Tensor

from ..ppap_core.comfy_bridge.live import as_sentences, shown_on_node


def text_on_node(text: str) -> dict:
    """For NodeOutput's `ui`: web/ppap_text.js shows it; "text" is where clients look for one."""
    return ui.PreviewText(text).as_dict() | {"ppap_text": (as_sentences(text),)}


def picture_on_node(image_bhwc: Tensor | None, node: type) -> dict:
    """For NodeOutput's `ui`; without a picture the same entries, empty.

    Where a node runs over a list, ComfyUI joins what its runs show, and all need the same entries.
    """
    if image_bhwc is None:
        return {"images": [], "animated": (False,)}
    return ui.PreviewImage(image_bhwc, cls=node).as_dict()


def last_text() -> dict | None:
    """The live text that the running node ends with, for NodeOutput's `ui`."""
    text = shown_on_node()
    return text_on_node(text) if text else None


def shows_text(define_schema: Callable) -> Callable:
    """For `define_schema` of a node with such text: it is shown again where the node is cached.

    Without this a page that was loaded anew would show no text. Older hosts take no notice.
    """

    @wraps(define_schema)
    def defined(cls: type) -> io.Schema:
        schema = define_schema(cls)
        schema.has_intermediate_output = True
        return schema

    return defined
