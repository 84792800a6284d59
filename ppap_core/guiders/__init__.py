"""Guiders: off-the-shelf vision models that guide a diffusion model.

`load_guider` reads a folder with `config.json` and `model.safetensors` into a `Guider`;
`find_guiders` finds such folders; `fetch_preset` downloads one of `PRESETS`; `BUILT_IN` builds
those that need no weights. A `Guider` carries its
`Preprocessing`, and a `GuiderInfo` with its task, its labels, what its answer means and the
`fingerprint` of its weights; `describe` puts them into words. Out of a guider that answers with an
embedding `add_score_head` makes one of a score, `name_classes` one of classes in words, and
`style_guider` one of a style. `check_by_trial` asks a guider about a picture once.

To add a library: write `<library>_guider.py` with a function (folder, config) -> Guider, and add to
_LOADERS the key of config.json that tells its folders from others.
"""

from collections.abc import Callable
from pathlib import Path

from ..errors import one_line
from .card import describe
from .download import fetch_preset
from .edge_filter import NAME, edge_filter
from .edge_network import SIGN, load_edge_folder
from .guider import Guider, GuiderInfo, fingerprint
from .listing import find_guiders, list_guiders
from .model_folder import no_larger_than_its_file, read_settings
from .named_classes import name_classes
from .preprocessing import Preprocessing
from .presets import PRESETS, Preset
from .score_guider import add_score_head
from .style_guider import style_guider
from .timm_guider import load_timm_folder
from .torchvision_guider import load_torchvision_folder
from .transformers_guider import load_transformers_folder
from .trial import check_by_trial

__all__ = [
    "BUILT_IN",
    "PRESETS",
    "Guider",
    "GuiderInfo",
    "Preprocessing",
    "Preset",
    "add_score_head",
    "check_by_trial",
    "describe",
    "fetch_preset",
    "find_guiders",
    "fingerprint",
    "list_guiders",
    "load_guider",
    "name_classes",
    "style_guider",
]

LONGEST = 900  # of an error, in characters: one may name a command with two paths
BUILT_IN = {NAME: edge_filter}  # those without a network, by name
# A key that only this library writes into config.json -> its loader. The first key found decides.
_LOADERS = {
    SIGN: load_edge_folder,
    "torchvision": load_torchvision_folder,
    "architecture": load_timm_folder,
    "model_type": load_transformers_folder,
}


def load_guider(folder: Path | str) -> Guider:
    """Load the vision model in `folder`, and try it once.

    ValueError, in one line, if it is missing, unsafe, unknown, or does not answer as its task asks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"no guider folder {folder}")
    config = read_settings(folder)
    for sign, load in _LOADERS.items():
        if isinstance(config.get(sign), str):
            return _load(load, folder, config)
    raise ValueError(
        f"{folder / 'config.json'} names no model: expected one of the entries "
        f"{', '.join(map(repr, _LOADERS))}; download it from the model's page again"
    )


def _load(load: Callable[[Path, dict], Guider], folder: Path, config: dict) -> Guider:
    """`load`, but every error that a library raises becomes a ValueError in one line."""
    try:
        with no_larger_than_its_file(folder):
            guider = load(folder, config)
    except ValueError as error:
        raise ValueError(one_line(error, LONGEST)) from None
    except Exception as error:
        raise ValueError(f"guider {folder.name!r} cannot be built: {one_line(error)}") from error
    check_by_trial(guider, folder.name)
    return guider
