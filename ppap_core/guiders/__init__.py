"""Guiders by source. A source is a folder with `config.json` and `model.safetensors`."""

from pathlib import Path

from .guider import Guider, GuiderInfo, fingerprint
from .preprocessing import Preprocessing
from .timm_guider import load_timm_folder

__all__ = ["Guider", "GuiderInfo", "Preprocessing", "fingerprint", "list_guiders", "load_guider"]

_SIGNS = ("config.json", "*.safetensors", "*.bin", "*.pth")


def load_guider(folder: Path | str) -> Guider:
    """Load the vision model in `folder`. ValueError if it is missing, unsafe or unknown."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"no guider folder {folder}")
    return load_timm_folder(folder)


def list_guiders(root: Path | str) -> list[str]:
    """Folders below `root` that look like a model, as names with forward slashes."""
    root = Path(root)
    folders = {path.parent for sign in _SIGNS for path in root.rglob(sign)} - {root}
    return sorted(folder.relative_to(root).as_posix() for folder in folders)
