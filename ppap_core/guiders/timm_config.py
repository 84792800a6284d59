"""config.json of a timm folder, read as timm's own hub loader reads it (timm 1.0.31).

timm has had two layouts: today's keeps what is known about the weights in "pretrained_cfg", the
older one keeps it beside "architecture". Arguments in "model_args" describe the saved network.
"""

import dataclasses
import re
from dataclasses import dataclass

from .answers import class_answer
from .labels import numbered
from .preprocessing import Preprocessing, for_channels

IMAGENET = re.compile(r"(?<![a-z])in(1|12|21|22)k(?![a-z0-9])")  # in the tags of timm's own weights
LABELS = ("label_names", "labels", "id2label", "class_names")
INDICES = ("class_to_idx", "label2id")  # name -> index
ANY_SIZE = {"dynamic_img_size": True, "use_naflex": True, "strict_img_size": False}


@dataclass(frozen=True)
class TimmConfig:
    """`args`: for timm.create_model. `weights`: what timm's PretrainedCfg knows about the weights.

    `is_counted`: the file states a number of classes.
    """

    architecture: str
    args: dict
    weights: dict
    labels: object
    descriptions: dict
    is_counted: bool


def read_timm_config(config: dict) -> TimmConfig:
    """`config`: the object in config.json. ValueError for a network that cannot be a guider."""
    from timm.models import PretrainedCfg, get_pretrained_cfg

    for name in ("pretrained_cfg", "model_args"):
        if not isinstance(config.get(name) or {}, dict):
            raise ValueError(f"{name} in config.json is an object, got {config[name]!r}")
    weights = dict(config.get("pretrained_cfg") or config)
    args = dict(config.get("model_args") or {})
    counts = (args.get("num_classes"), config.get("num_classes"), weights.get("num_classes"))
    stated = [count for count in counts if count is not None]
    weights["num_classes"] = args["num_classes"] = _count(stated[0] if stated else 1000)
    labels, descriptions = (
        next((part[name] for name in names for part in (config, weights) if part.get(name)), None)
        for names in (LABELS, ("label_descriptions",))
    )
    if indices := next((config[name] for name in INDICES if config.get(name)), None):
        labels = labels or {index: name for name, index in dict(indices).items()}
    usual = get_pretrained_cfg(config["architecture"].partition(".")[0])
    weights.setdefault("fixed_input_size", bool(usual and usual.fixed_input_size))
    weights["input_size"] = _input_size(weights.get("input_size") or (3, 224, 224), args)
    known = {field.name for field in dataclasses.fields(PretrainedCfg)}
    known -= {"label_names", "label_descriptions", "architecture"}
    return TimmConfig(
        architecture=config["architecture"],
        args=args,
        weights={k: v for k, v in weights.items() if k in known and v is not None},
        labels=labels,
        descriptions=descriptions or {},
        is_counted=bool(stated),
    )


def _count(num_classes: object) -> int:
    if isinstance(num_classes, bool) or num_classes not in range(1_000_000):
        raise ValueError(f"num_classes is a whole number, got {num_classes!r}")
    if not num_classes:
        raise ValueError("it has no classes (num_classes is 0): choose a classifier")
    return int(num_classes)


def _are_numbers(values: object, *lengths: int) -> bool:
    is_row = isinstance(values, list | tuple) and len(values) in lengths
    return is_row and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _input_size(stated: tuple[int, int, int], args: dict) -> tuple[int, int, int]:
    """(channels, height, width): what the network was built for, which may not be what is stated.

    A network of any size keeps the stated one, which its weights were evaluated with.
    """
    if not _are_numbers(stated, 3) or min(stated) < 1:
        raise ValueError(f"input_size is three numbers (channels, height, width), got {stated!r}")
    channels, height, width = stated
    size = args.get("img_size")
    if size is not None and not any(args.get(k) == v for k, v in ANY_SIZE.items()):
        height, width = (size, size) if isinstance(size, int) else size
    return int(args.get("in_chans") or channels), int(height), int(width)


def timm_labels(config: TimmConfig) -> tuple[str, ...]:
    """The labels that the folder gives; else ImageNet's, where the weights say so; else numbers."""
    num_classes = config.args["num_classes"]
    if config.labels or not _is_imagenet(config):
        return numbered(config.labels, num_classes, config.descriptions)
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return numbered(None, num_classes)
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(num_classes))


def _is_imagenet(config: TimmConfig) -> bool:
    """timm's own weights carry a tag such as "a1_in1k"; others' thousand classes are their own."""
    tag = f"{config.weights.get('tag', '')} {config.architecture.partition('.')[2]}"
    return bool(IMAGENET.search(tag.replace("_", " "))) or not config.is_counted


def timm_answer(config: dict, num_classes: int, is_tagger: bool) -> str:
    """timm's format does not say whether classes exclude each other; `problem_type` can."""
    weights = config.get("pretrained_cfg") or {}
    told = config.get("problem_type") or weights.get("problem_type")
    usual = "sigmoid" if is_tagger else "softmax"
    return class_answer({"problem_type": told}, num_classes, usual)


def timm_preprocessing(pretrained_cfg: dict, reverse_channels: bool = False) -> Preprocessing:
    """The evaluation transform that timm makes from `pretrained_cfg`.

    ValueError for networks that read neither colour nor grey.
    """
    from timm.data import resolve_data_config

    for name in ("mean", "std"):
        values = pretrained_cfg.get(name)
        if values is not None and not (_are_numbers(values, 1, 3) and 0 <= max(values) <= 1):
            raise ValueError(
                f"{name} in config.json is a list of numbers for pixels from 0 to 1, got {values!r}"
            )
    data = resolve_data_config(pretrained_cfg=pretrained_cfg)
    channels, *size = data["input_size"]
    if channels not in (1, 3):
        raise ValueError(
            f"it reads pictures of {channels} channels: choose a model for colour (3) or grey (1)"
        )
    return Preprocessing(
        size=tuple(size),
        mean=for_channels(data["mean"], channels),
        std=for_channels(data["std"], channels),
        interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=data["crop_pct"],
        crop_mode=data["crop_mode"],
        reverse_channels=reverse_channels,
    )
