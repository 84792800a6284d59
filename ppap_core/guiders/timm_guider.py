"""timm classifiers from a local folder, laid out as the Hugging Face hub lays them out."""

from pathlib import Path

import torch

from ..errors import one_line
from .guider import Guider, GuiderInfo, fingerprint
from .model_folder import fill, read_weights
from .preprocessing import Preprocessing


def load_timm_folder(folder: Path, config: dict) -> Guider:
    """Build the classifier that `config` names and load `folder`'s weights.

    ValueError for a folder without safetensors, an architecture that timm does not know, or weights
    that do not fit.
    """
    weights = read_weights(folder)
    backbone = _build(config, folder)
    fill(backbone, weights, folder)
    info = GuiderInfo(
        source=f"timm/{folder.name}",
        architecture=config["architecture"],
        task="class",
        labels=_labels(config, backbone.num_classes),
        fingerprint=fingerprint(weights),
    )
    # Older folders of the hub have no "pretrained_cfg": its entries are beside "architecture".
    preprocessing = timm_preprocessing(config.get("pretrained_cfg") or config)
    return Guider(backbone, preprocessing, info)


def timm_preprocessing(pretrained_cfg: dict) -> Preprocessing:
    """The evaluation transform that timm makes from `pretrained_cfg`."""
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


def _build(config: dict, folder: Path) -> torch.nn.Module:
    import timm

    name = config["architecture"]
    if not timm.is_model(name):
        raise ValueError(f"guider {folder.name!r}: timm {timm.__version__} has no model {name!r}")
    settings = dict(config.get("model_args") or {})
    settings.setdefault("num_classes", config.get("num_classes", 1000))
    if not settings["num_classes"]:
        raise ValueError(
            f"guider {folder.name!r} has no classes (num_classes is 0): choose a classifier"
        )
    try:
        with torch.inference_mode(False):
            return timm.create_model(name, pretrained=False, **settings)
    except TypeError as error:
        raise ValueError(
            f"guider {folder.name!r}: its model_args do not fit: {one_line(error)}"
        ) from None


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
