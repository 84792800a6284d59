"""A network that one of transformers' own classes builds from a local folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import one_line
from .model_folder import CONFIG, WEIGHTS, weights_variant
from .plain_folder import in_utf8

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PretrainedConfig


def load_model(loader: str, folder: Path) -> nn.Module:
    """The network that transformers' class `loader` builds, with `folder`'s weights in float32.

    ValueError, in one line, if it cannot be built or its weights do not fit.
    """
    import transformers

    try:
        with in_utf8(folder) as readable, torch.inference_mode(False):
            model, report = getattr(transformers, loader).from_pretrained(
                readable,
                use_safetensors=True,
                variant=weights_variant(folder),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, in one line
            )
            model = model.float()
    except (ValueError, OSError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise ValueError(f"guider {folder.name!r} cannot be built: {one_line(error)}") from None
    _check_complete(report, f"{folder / WEIGHTS} does not fit {CONFIG}")
    return model


def _check_complete(report: dict, told: str) -> None:
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            first = min(map(str, report[kind]))
            raise ValueError(f"{told}: {kind.replace('_', ' ')}: {first}")


def build_model(loader: str, config: "PretrainedConfig", weights: dict[str, Tensor]) -> nn.Module:
    """The network that transformers' class `loader` builds, with `weights` in float32.

    ValueError, in one line, if they do not fit.
    """
    import transformers

    with torch.inference_mode(False):
        model, report = getattr(transformers, loader).from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True
        )
    _check_complete(report, f"the model does not fit {loader}")
    return model


def channels_of(config: "PretrainedConfig") -> int:
    """How many channels the network's pictures have."""
    parts = (config, getattr(config, "backbone_config", None))
    return next((p.num_channels for p in parts if getattr(p, "num_channels", None)), 3)
