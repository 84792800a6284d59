"""timm classifiers from a local folder, laid out as the Hugging Face hub lays them out."""

from pathlib import Path

import torch

from ..errors import one_line
from .guider import Guider, GuiderInfo, fingerprint
from .labels import WD_TAGGER, numbered, read_tags
from .model_folder import fill, read_weights, unwrapped
from .timm_config import (
    TimmConfig,
    read_timm_config,
    timm_answer,
    timm_labels,
    timm_preprocessing,
)


def load_timm_folder(folder: Path, config: dict) -> Guider:
    """Build the classifier that `config` names and load `folder`'s weights.

    ValueError for a folder without safetensors, an architecture that timm does not know, or weights
    that do not fit.
    """
    weights = read_weights(folder)
    try:
        parsed = read_timm_config(config)
        columns, tags = read_tags(folder) or ([], [])
        # The WD taggers read blue, green, red, which their config.json does not say.
        preprocessing = timm_preprocessing(parsed.weights, reverse_channels=columns == WD_TAGGER)
        labels = numbered(tags, parsed.args["num_classes"]) if tags else timm_labels(parsed)
        answer = timm_answer(config, len(labels), is_tagger=bool(tags))
    except ValueError as error:
        raise ValueError(f"guider {folder.name!r}: {one_line(error)}") from None
    backbone = _build(parsed, folder)
    weights = unwrapped(weights, backbone)
    fill(backbone, weights, folder)
    info = GuiderInfo(
        source=f"timm/{folder.name}",
        architecture=parsed.architecture,
        task="class",
        labels=labels,
        fingerprint=fingerprint(weights),
        answer=answer,
    )
    return Guider(backbone, preprocessing, info)


def _build(config: TimmConfig, folder: Path) -> torch.nn.Module:
    import timm

    name = config.architecture
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"guider {folder.name!r}: timm {timm.__version__} has no model {name!r}")
    try:
        with torch.inference_mode(False):
            # No checkpoint_path: it might name a pickle.
            given = {"pretrained": False, "pretrained_cfg": config.weights, "checkpoint_path": ""}
            return timm.create_model(name, **given, **config.args)
    except TypeError as error:
        raise ValueError(
            f"guider {folder.name!r}: its model_args do not fit: {one_line(error)}"
        ) from None
