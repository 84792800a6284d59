"""A folder with `config.json` and safetensors weights, as the Hugging Face hub lays it out.

The weights are `model.safetensors`, or that name with a variant (`model.fp16.safetensors`), or
several files that an index names (`model.safetensors.index.json`).
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..errors import one_line
from ..no_weights import PICKLES, how_to_convert, what_it_is
from ..text_files import read_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"
ROOM = 1_000_000  # parameters that a network may have beyond those in its file


def read_settings(folder: Path, name: str = CONFIG) -> dict:
    """The JSON object in `folder`/`name`.

    ValueError if it is missing, damaged, or asks to run code of its own.
    """
    path = folder / name
    if not path.is_file():
        cure = f"download it from the model's page into {folder}"
        if (pickles := _pickles(folder)) and not weight_files(folder):
            cure += f"; of {pickles[0].name}, {how_to_convert(pickles[0], folder)}"
        raise ValueError(f"guider {folder.name!r} has no {name}: {cure}")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} holds no settings (a JSON object): download it from the model's page again"
        )
    if any("auto_map" in part for part in (config, *config.values()) if isinstance(part, dict)):
        raise ValueError(
            f"guider {folder.name!r} wants to run code of its own ('auto_map' in {name}), which "
            f"this pack never does: choose a model that timm, transformers or torchvision knows"
        )
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of all `weight_files`: the same from one file and from several.

    ValueError if a file is missing or damaged; pickles beside it are named, never read.
    """
    weights: dict[str, Tensor] = {}
    files = weight_files(folder)
    for path in files:
        try:
            weights |= load_file(path)
        except SafetensorError as error:
            otherwise = f"is truncated or no safetensors file: {one_line(error)}"
            raise ValueError(f"{path} {what_it_is(path, otherwise)}") from None
    if files and not weights:
        raise ValueError(f"{files[0]} holds no weights: download it from the model's page again")
    if not weights:
        raise ValueError(f"guider {folder.name!r} has no {WEIGHTS}{_found_instead(folder)}")
    _check_not_quantised(weights, folder)
    return weights


def _check_not_quantised(weights: dict[str, Tensor], folder: Path) -> None:
    """ValueError for whole numbers, which are no weights without a scale."""
    for name, value in weights.items():
        if name.endswith(".weight") and not value.is_floating_point():
            raise ValueError(
                f"the weights of guider {folder.name!r} are quantised ({name} is {value.dtype}): "
                f"download those in 16 or 32 bits"
            )


def _found_instead(folder: Path) -> str:
    """For the message that there are no weights: what there is in their place, and what to do."""
    cure = f"download the safetensors file into {folder}"
    if shards := sorted(path.name for path in folder.glob("*-of-*.safetensors")):
        return f" (found {shards[0]}, but not {WEIGHTS}.index.json, which names all parts): {cure}"
    if others := sorted(path.name for path in folder.glob("*.safetensors")):
        return f" (found {others[0]}: rename it to {WEIGHTS} if it holds this model): {cure}"
    if pickles := _pickles(folder):
        names = ", ".join(path.name for path in pickles)
        return f" (found only {names}; pickles can run code): {how_to_convert(pickles[0], folder)}"
    return f": {cure}"


def _pickles(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICKLES)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files with `folder`'s weights, empty if there are none.

    ValueError if its index is damaged or names a file that is not here.
    """
    middle = f".{variant}" if (variant := weights_variant(folder)) else ""
    whole, index = folder / f"model{middle}.safetensors", folder / f"{WEIGHTS}.index{middle}.json"
    if whole.is_file() or not index.is_file():
        return [whole] if whole.is_file() else []
    try:
        names = sorted({str(name) for name in read_json(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights: {one_line(error)}") from None
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names {name!r}, which is no safetensors file of {folder}")
        if not (folder / name).is_file():
            raise ValueError(
                f"{index.name} names {name}, which is not in {folder}: download it from the "
                f"model's page"
            )
    return [folder / name for name in names]


def weights_variant(folder: Path) -> str | None:
    """ "fp16" for a folder with model.fp16.safetensors or an index of that variant.

    None if there are weights without a variant, or no weights.
    """
    if (folder / WEIGHTS).is_file() or (folder / f"{WEIGHTS}.index.json").is_file():
        return None
    whole, index = r"model\.([^.]+)(?<!-of-\d{5})\.safetensors", r".*\.index\.([^.]+)\.json"
    found = (re.fullmatch(kind, path.name) for kind in (whole, index) for path in folder.iterdir())
    return min((match[1] for match in found if match), default=None)


@contextmanager
def no_larger_than_its_file(folder: Path) -> Iterator[None]:
    """Inside, a network with many more parameters than `folder`'s weights file cannot be built.

    Without this a wrong number in config.json could take all memory before `fill` compares the
    weights. Every parameter takes at least one byte of its file.
    """
    room = sum(path.stat().st_size for path in weight_files(folder)) + ROOM

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal room
        room -= 0 if parameter is None or parameter.is_meta else parameter.numel()
        if room < 0:
            raise ValueError(f"{folder / CONFIG} describes a larger network than {WEIGHTS} holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def unwrapped(weights: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """`weights` under the names of `backbone`, without what a wrapper put before all of them.

    Wrappers are DataParallel ("module."), torch.compile, Lightning ("model."), transformers' timm.
    """
    own = backbone.state_dict().keys()
    shared = os.path.commonprefix(list(weights))
    cuts = (0, *(i + 1 for i, character in enumerate(shared) if character == "."))
    cut = next((cut for cut in cuts if any(name[cut:] in own for name in weights)), 0)
    return {name[cut:]: value for name, value in weights.items()}


def fill(backbone: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load all of `weights` into all of `backbone`. ValueError, naming what does not fit."""
    try:
        with torch.inference_mode(False):
            backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit {CONFIG}: {one_line(error)}") from None
