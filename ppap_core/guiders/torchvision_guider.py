"""torchvision's classifiers and segmentation models, from a local folder.

torchvision has no folder layout of its own; ours is `model.safetensors` (the state dict) and
`config.json`: {"torchvision": "<builder>"}. Optional entries: "weights", a name in the builder's
weights enum such as "IMAGENET1K_V1", whose labels and preprocessing are used (its default entry
otherwise); "num_classes" and "labels" (a list, or an object of numbers and names), if they differ
from those; "problem_type", if the classes do not exclude each other; "args" for the builder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import one_line
from ..tasks import CLASS, SEGMENTATION, Task, get_task
from .answers import (
    class_answer,
    refuse_overlapping_classes,
    segmentation_labels,
    with_background,
)
from .guider import Guider, GuiderInfo, fingerprint
from .labels import numbered
from .model_folder import fill, read_weights, unwrapped
from .preprocessing import Preprocessing

if TYPE_CHECKING:  # torchvision takes seconds to import, and only its guiders need it
    from torchvision.models import WeightsEnum

Meaning = tuple[tuple[str, ...], str]  # the labels, and what the answer's numbers are


def _class_meaning(config: dict, labels: tuple[str, ...]) -> Meaning:
    return labels, class_answer(config, len(labels))


def _segment_meaning(config: dict, labels: tuple[str, ...]) -> Meaning:
    refuse_overlapping_classes(config, len(labels))
    return segmentation_labels(labels), SEGMENTATION.usual


def _segment_settings(weights: dict[str, Tensor]) -> dict:
    auxiliary = any("aux_classifier." in name for name in weights)
    return {"weights_backbone": None, "aux_loss": auxiliary}


@dataclass(frozen=True)
class Kind:
    """`task`: of its models. `meaning`: (config, names of the outputs) -> what they mean, or a
    ValueError for what cannot guide. `settings`: (the weights) -> more for the builder.
    """

    task: Task
    meaning: Callable[[dict, tuple[str, ...]], Meaning]
    settings: Callable[[dict[str, Tensor]], dict]


CLASSIFIER = Kind(CLASS, _class_meaning, lambda weights: {})
SEGMENTER = Kind(SEGMENTATION, _segment_meaning, _segment_settings)
NOT_OURS = ("detection", "video", "optical_flow", "quantization")


class TorchvisionModel(nn.Module):
    """Pixels (B, 3, h, w) -> logits (B, K) or (B, K, h, w), without auxiliary outputs.

    One class of segmentation comes with its background.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.model(pixels)
        if isinstance(answer, dict):
            return with_background(answer["out"])
        return answer[0] if isinstance(answer, tuple) else answer

    def get_classifier(self) -> nn.Module | None:
        """The head of a classifier; None for a segmentation model."""
        if hasattr(self.model, "backbone"):
            return None
        names = ("fc", "head", "heads", "classifier")
        return next(
            (getattr(self.model, name) for name in names if hasattr(self.model, name)), None
        )


def load_torchvision_folder(folder: Path, config: dict) -> Guider:
    """Build the model that `config` names and load `folder`'s weights.

    ValueError, in one line, for a folder without safetensors, a builder that torchvision does not
    know or that builds neither classifiers nor segmentation models, and weights that do not fit.
    """
    weights = read_weights(folder)
    entry, kind = _weights_entry(config, folder)
    model = _build(config, weights, entry, kind, folder)
    weights = unwrapped(weights, model)
    fill(model, weights, folder)
    try:
        labels, answer = kind.meaning(config, _labels(config, entry))
    except ValueError as error:
        raise ValueError(f"guider {folder.name!r}: {one_line(error)}") from None
    info = GuiderInfo(
        source=f"torchvision/{folder.name}",
        architecture=config["torchvision"],
        task=kind.task.name,
        labels=labels,
        fingerprint=fingerprint(weights),
        answer=answer,
    )
    preprocessing = torchvision_preprocessing(entry.transforms(), kind.task.name)
    return Guider(TorchvisionModel(model), preprocessing, info)


def torchvision_preprocessing(transform: nn.Module, task: str) -> Preprocessing:
    """The same as `transform`, torchvision's evaluation transform of some weights."""
    resize_to, whole = (transform.resize_size[0],) * 2, get_task(task).is_dense
    return Preprocessing(
        size=resize_to if whole else (transform.crop_size[0],) * 2,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
        crop_mode="shortest" if whole else "center",
        resize_to=resize_to,
    )


def _weights_entry(config: dict, folder: Path) -> tuple["WeightsEnum", Kind]:
    """An entry of the builder's weights enum (the default one unless named), and its kind."""
    from torchvision import models

    name = config["torchvision"]
    if name not in models.list_models():
        raise ValueError(f"guider {folder.name!r}: torchvision has no model {name!r}")
    module = models.get_model_builder(name).__module__
    if any(f".{kind}" in module for kind in NOT_OURS):
        raise ValueError(
            f"guider {folder.name!r}: {name!r} is no guider: choose a classifier or a segmentation "
            f"model of torchvision"
        )
    entries = models.get_model_weights(name)
    wanted = config.get("weights", "DEFAULT")
    if wanted not in entries.__members__:
        raise ValueError(
            f"guider {folder.name!r}: {name!r} has weights {', '.join(entries.__members__)}, "
            f"not {wanted!r}"
        )
    return entries[wanted], SEGMENTER if ".segmentation" in module else CLASSIFIER


def _build(
    config: dict, weights: dict[str, Tensor], entry: "WeightsEnum", kind: Kind, folder: Path
) -> nn.Module:
    from torchvision import models

    num_classes = config.get("num_classes", len(entry.meta["categories"]))
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(
            f"guider {folder.name!r}: num_classes is a number above 0, got {num_classes!r}"
        )
    settings = {"num_classes": num_classes, **kind.settings(weights)}
    settings |= config.get("args") or {}
    try:
        with torch.inference_mode(False):
            return models.get_model(config["torchvision"], weights=None, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"guider {folder.name!r}: its settings do not fit: {one_line(error)}"
        ) from None


def _labels(config: dict, entry: "WeightsEnum") -> tuple[str, ...]:
    """The folder's own labels; those of torchvision's weights, if they are named or meant."""
    known_labels = entry.meta["categories"]
    num_classes = config.get("num_classes", len(known_labels))
    if config.get("labels"):
        return numbered(config["labels"], num_classes)
    is_known = "weights" in config or "num_classes" not in config
    return numbered(known_labels if is_known else None, num_classes)
