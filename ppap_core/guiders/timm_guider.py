"""timm classifiers from a local folder, laid out as the Hugging Face hub lays them out."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .guider import Guider, GuiderInfo, fingerprint
from .preprocessing import Preprocessing

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def load_timm_folder(folder: Path) -> Guider:
    """Build the classifier that `folder`/config.json names and load its safetensors weights.

    Raises ValueError, saying what to put where, if the folder has no config, pickles only, an
    architecture that timm does not know, or weights that do not fit.
    """
    config = _read_config(folder)
    weights = _read_weights(folder)
    backbone = _build(config, folder)
    _load(backbone, weights, folder)
    info = GuiderInfo(
        source=f"timm/{folder.name}",
        architecture=config["architecture"],
        task="class",
        labels=_labels(config, backbone.num_classes),
        fingerprint=fingerprint(weights),
    )
    # Older folders of the hub have no "pretrained_cfg": its entries lie beside "architecture".
    preprocessing = timm_preprocessing(config.get("pretrained_cfg") or config)
    return Guider(backbone, preprocessing, info)


def timm_preprocessing(pretrained_cfg: dict) -> Preprocessing:
    """timm's evaluation transform as its `pretrained_cfg` describes it."""
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=pretrained_cfg)
    return Preprocessing(
        size=tuple(data["input_size"][1:]),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=data["crop_pct"],
        crop_mode=data["crop_mode"],
    )


def _read_config(folder: Path) -> dict:
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(
            f"guider {folder.name!r} has no {CONFIG}: download it from the model's page into "
            f"{folder}"
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise ValueError(
            f"{path} names no timm 'architecture': this folder is not a timm model of the hub"
        )
    return config


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
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


def _build(config: dict, folder: Path) -> torch.nn.Module:
    import timm

    name = config["architecture"]
    if not timm.is_model(name):
        raise ValueError(f"guider {folder.name!r}: timm {timm.__version__} has no model {name!r}")
    settings = dict(config.get("model_args") or {})
    settings.setdefault("num_classes", config.get("num_classes", 1000))
    try:
        with torch.inference_mode(False):
            return timm.create_model(name, pretrained=False, **settings)
    except TypeError as error:
        raise ValueError(f"guider {folder.name!r}: its model_args do not fit: {error}") from None


def _load(backbone: torch.nn.Module, weights: dict[str, torch.Tensor], folder: Path) -> None:
    try:
        with torch.inference_mode(False):
            backbone.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"{folder / WEIGHTS} does not fit {CONFIG}: {first}") from None


def _labels(config: dict, num_classes: int) -> tuple[str, ...]:
    names = config.get("label_names") or (config.get("pretrained_cfg") or {}).get("label_names")
    if names and len(names) == num_classes:
        return tuple(map(str, names))
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return tuple(str(index) for index in range(num_classes))
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(num_classes))
