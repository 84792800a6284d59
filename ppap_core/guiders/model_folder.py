"""A folder with `config.json` and `model.safetensors`, as the Hugging Face hub lays it out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..errors import one_line

WEIGHTS, CONFIG = "model.safetensors", "config.json"
ROOM = 1_000_000  # parameters that a network may have beyond those in its file


def read_settings(folder: Path, name: str = CONFIG) -> dict:
    """The JSON object in `folder`/`name`.

    ValueError if it is missing, damaged, or asks to run code of its own.
    """
    path = folder / name
    if not path.is_file():
        raise ValueError(
            f"guider {folder.name!r} has no {name}: download it from the model's page into {folder}"
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {one_line(error)}") from None
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} holds no settings (a JSON object): download it from the model's page again"
        )
    if "auto_map" in config:
        raise ValueError(
            f"guider {folder.name!r} wants to run code of its own ('auto_map' in {name}), which "
            f"this pack never does: choose a model that timm, transformers or torchvision knows"
        )
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of `folder`/model.safetensors.

    ValueError if the file is missing or damaged; pickles beside it are named, never read.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(p.name for kind in ("*.bin", "*.pth", "*.pt") for p in folder.glob(kind))
        found = f" (found only {', '.join(pickles)}; pickles can run code)" if pickles else ""
        raise ValueError(
            f"guider {folder.name!r} has no {WEIGHTS}{found}: download the safetensors file into "
            f"{folder}"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {one_line(error)}") from None


@contextmanager
def no_larger_than_its_file(folder: Path) -> Iterator[None]:
    """Inside, a network with many more parameters than `folder`'s weights file cannot be built.

    Without this a wrong number in config.json could take all memory before `fill` compares the
    weights. Every parameter takes at least one byte of the file.
    """
    path = folder / WEIGHTS
    room = path.stat().st_size + ROOM if path.is_file() else ROOM

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


def fill(backbone: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load all of `weights` into all of `backbone`. ValueError, naming what does not fit."""
    try:
        with torch.inference_mode(False):
            backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder / WEIGHTS} does not fit {CONFIG}: {one_line(error)}") from None
