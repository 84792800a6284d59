"""Which folders look like a vision model."""

from fnmatch import fnmatchcase
from pathlib import Path

from ..files_below import files_below
from ..no_weights import PICKLES

# Pickles are refused, but with what to do instead.
SIGNS = ("config.json", "*.safetensors", *(f"*{suffix}" for suffix in PICKLES))


def find_guiders(root: Path | str) -> dict[str, Path]:
    """The folders below `root` that look like a model, linked ones too, sorted by name.

    A name is the path from `root`, with slashes. Files that lie in `root` itself are a model too,
    with the name of `root`.
    """
    root = Path(root)
    folders = {
        path.parent
        for path in files_below(root)
        if any(fnmatchcase(path.name.lower(), sign) for sign in SIGNS)
    }
    # The root's own comes first: a folder in it that has the same name keeps it.
    named = {folder.relative_to(root).as_posix(): folder for folder in folders - {root}}
    own = {root.absolute().name: root} if root in folders else {}
    return dict(sorted((own | named).items()))


def list_guiders(root: Path | str) -> list[str]:
    """The names that `find_guiders` gives."""
    return list(find_guiders(root))
