"""Views by name."""

from typing import NamedTuple

from ..views import VIEWS, View


class BuiltView(NamedTuple):
    view: View
    patchers: list
    name: str


def build_view(name: str, model, vae=None) -> BuiltView:
    name = "identity" if name == "auto" else name
    return BuiltView(VIEWS[name], [], name)
