"""A folder with `config.json` and `model.safetensors`, as the Hugging Face hub lays it out."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def read_config(folder: Path, name: str = CONFIG) -> dict:
    """The JSON object in `folder`/`name`. ValueError if it is missing, damaged or wants code."""
    path = folder / name
    if not path.is_file():
        raise ValueError(
            f"guider {folder.name!r} has no {name}: download it from the model's page into {folder}"
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings: download it from the model's page again")
    if "auto_map" in config:
        raise ValueError(
            f"guider {folder.name!r} wants to run code of its own ('auto_map' in {name}), which "
            f"this pack never does: choose a model that timm, transformers or torchvision knows"
        )
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of `folder`/model.safetensors. ValueError if there are none, or only pickles."""
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
        raise ValueError(f"{path} is truncated or no safetensors file: {error}") from None


def fill(backbone: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load all of `weights` into all of `backbone`. ValueError, naming the first misfit."""
    try:
        with torch.inference_mode(False):
            backbone.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"{folder / WEIGHTS} does not fit {CONFIG}: {first}") from None
