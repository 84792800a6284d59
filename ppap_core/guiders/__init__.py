"""Guiders by source. A source is a folder with `config.json` and `model.safetensors`."""

from collections.abc import Callable
from pathlib import Path

from ..errors import one_line
from .guider import Guider, GuiderInfo, fingerprint
from .model_folder import no_larger_than_its_file, read_config
from .preprocessing import Preprocessing
from .presets import PRESETS, Preset, fetch_preset
from .timm_guider import load_timm_folder
from .torchvision_guider import load_torchvision_folder
from .transformers_guider import load_transformers_folder

__all__ = [
    "PRESETS",
    "Guider",
    "GuiderInfo",
    "Preprocessing",
    "Preset",
    "fetch_preset",
    "fingerprint",
    "list_guiders",
    "load_guider",
]

_SIGNS = ("config.json", "*.safetensors", "*.bin", "*.pth")
# What a library writes into config.json -> who reads the folder. The first that fits.
_LOADERS = {
    "torchvision": load_torchvision_folder,
    "architecture": load_timm_folder,
    "model_type": load_transformers_folder,
}


def load_guider(folder: Path | str) -> Guider:
    """Load the vision model in `folder`. ValueError if it is missing, unsafe or unknown."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"no guider folder {folder}")
    config = read_config(folder)
    for sign, load in _LOADERS.items():
        if isinstance(config.get(sign), str):
            return _load(load, folder, config)
    raise ValueError(
        f"{folder / 'config.json'} names no model: it has no "
        f"{', '.join(map(repr, _LOADERS))}, by which a folder of the hub is known"
    )


def _load(load: Callable[[Path, dict], Guider], folder: Path, config: dict) -> Guider:
    """Whatever the settings in a folder make a library do, it ends in a guider or a ValueError."""
    try:
        with no_larger_than_its_file(folder):
            return load(folder, config)
    except ValueError as error:
        raise ValueError(one_line(error)) from None
    except Exception as error:
        raise ValueError(f"guider {folder.name!r} cannot be built: {one_line(error)}") from error


def list_guiders(root: Path | str) -> list[str]:
    """Visible folders below `root` that look like a model, as names with forward slashes."""
    root = Path(root)
    folders = {path.parent for sign in _SIGNS for path in root.rglob(sign)} - {root}
    names = (folder.relative_to(root) for folder in folders)
    return sorted(name.as_posix() for name in names if not any(p[0] == "." for p in name.parts))
