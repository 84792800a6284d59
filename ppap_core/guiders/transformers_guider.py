"""transformers models for depth, semantic segmentation and classification, from a local folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import one_line
from ..tasks import CLASS, DEPTH, SEGMENTATION, Task
from .answers import (
    class_answer,
    refuse_overlapping_classes,
    segmentation_labels,
    with_background,
)
from .embedding_guider import embeds, load_embedding_folder
from .guider import Guider, GuiderInfo, fingerprint
from .labels import numbered
from .model_folder import read_weights
from .transformers_model import channels_of, load_model
from .transformers_preprocessing import transformers_preprocessing

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PretrainedConfig
    from transformers.utils import ModelOutput

MIN_DEPTH = 1e-3  # metres


def _read_logits(answer: "ModelOutput", is_metric: bool) -> Tensor:
    return answer.logits


def _read_segments(answer: "ModelOutput", is_metric: bool) -> Tensor:
    return with_background(answer.logits)


def _read_depth(answer: "ModelOutput", is_metric: bool) -> Tensor:
    """Nearness: of `is_metric` models, which answer in metres, 1 / depth."""
    depth = answer.predicted_depth
    return 1 / depth.clamp(min=MIN_DEPTH) if is_metric else depth


Meaning = tuple[tuple[str, ...], str]  # the labels, and what the answer's numbers are


def _class_meaning(config: "PretrainedConfig") -> Meaning:
    answer = class_answer(config.to_dict(), config.num_labels)
    return numbered(config.id2label, config.num_labels), answer


def _segment_meaning(config: "PretrainedConfig") -> Meaning:
    """ValueError for models whose classes overlap."""
    refuse_overlapping_classes(config.to_dict(), config.num_labels)
    labels = segmentation_labels(numbered(config.id2label, config.num_labels))
    return labels, SEGMENTATION.usual


def _depth_meaning(config: "PretrainedConfig") -> Meaning:
    return (), DEPTH.usual


@dataclass(frozen=True)
class Head:
    """What models of one kind do, and how it is read.

    `task`: ours. `read`: (the model's answer, whether it is in metres) -> the guider's. `meaning`:
    of that, by the model's config. `layers`: names that transformers gives the last layer.
    """

    task: Task
    read: Callable[["ModelOutput", bool], Tensor]
    meaning: Callable[["PretrainedConfig"], Meaning]
    layers: tuple[str, ...] = ()


DEPTH_HEAD = Head(DEPTH, _read_depth, _depth_meaning)
SEGMENTATION_HEAD = Head(SEGMENTATION, _read_segments, _segment_meaning)
CLASS_HEAD = Head(CLASS, _read_logits, _class_meaning, ("classifier", "fc", "head"))
HEADS = (DEPTH_HEAD, SEGMENTATION_HEAD, CLASS_HEAD)
KINDS = {  # transformers' name of what a model does: its head, and the class that loads it
    "DEPTH_ESTIMATION": (DEPTH_HEAD, "AutoModelForDepthEstimation"),
    "SEMANTIC_SEGMENTATION": (SEGMENTATION_HEAD, "AutoModelForSemanticSegmentation"),
    "UNIVERSAL_SEGMENTATION": (SEGMENTATION_HEAD, "AutoModelForUniversalSegmentation"),
    "IMAGE_CLASSIFICATION": (CLASS_HEAD, "AutoModelForImageClassification"),
}
ASK_IN_WORDS = ("oneformer",)  # models with a second input: what to segment, as tokens


class TransformersModel(nn.Module):
    """A transformers model that answers with one tensor: pixels (B, 3, h, w) -> what a Guider does.

    Class and segmentation logits are passed on, one class of segmentation with its background.
    Universal segmentation models, and DETR, answer with masks and the class of each: these become
    the logarithms of a semantic map. Depth becomes nearness, larger
    is nearer: `metric` models answer in metres, so that is 1 / depth.
    ComfyUI's patchers set a module's `device`, which transformers' own modules refuse: this one
    takes it.
    """

    def __init__(self, model: nn.Module, head: Head, metric: bool = False):
        super().__init__()
        self.model = model
        self.head = head
        self.metric = metric

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.model(pixel_values=pixels, return_dict=True)
        if "masks_queries_logits" in answer:
            return _semantic_logits(answer.class_queries_logits, answer.masks_queries_logits)
        if "pred_masks" in answer:
            return _semantic_logits(answer.logits, answer.pred_masks)
        return self.head.read(answer, self.metric)

    def get_classifier(self) -> nn.Module | None:
        """The last layer of a classifier, by the names that transformers gives it."""
        heads = (getattr(self.model, name, None) for name in self.head.layers)
        return next((head for head in heads if isinstance(head, nn.Linear)), None)


def load_transformers_folder(folder: Path, config: dict) -> Guider:
    """Build the model that `config` names, with `folder`'s weights and preprocessing.

    ValueError, in one line, for a folder without safetensors, a model that transformers does not
    know or whose task is none of ours, and weights that do not fit.
    """
    _check_known(config, folder)
    if embeds(config):
        return load_embedding_folder(folder, config)
    weights = read_weights(folder)
    head, loader = _kind(config, folder)
    metric = head is DEPTH_HEAD and _is_metric(config, folder)
    model = load_model(loader, folder)
    try:
        labels, answer = head.meaning(model.config)
    except ValueError as error:
        raise ValueError(f"guider {folder.name!r}: {one_line(error)}") from None
    info = GuiderInfo(
        source=f"transformers/{folder.name}",
        architecture=type(model).__name__,
        task=head.task.name,
        labels=labels,
        fingerprint=fingerprint(weights),
        answer=answer,
    )
    preprocessing = transformers_preprocessing(
        folder, whole=head.task.is_dense, channels=channels_of(model.config)
    )
    return Guider(TransformersModel(model, head, metric), preprocessing, info)


def _semantic_logits(classes: Tensor, masks: Tensor) -> Tensor:
    """Queries' classes (B, Q, K + 1) and masks (B, Q, h, w) -> (B, K, h, w).

    The logarithm of the sum over queries of class probability times mask, which is MaskFormer's
    semantic inference (Cheng et al., 2021, section 3.4). A softmax turns the logarithm into shares.
    One class has no other to share with: its map is of background and class, where a pixel shows
    the class if at least one query says so.
    """
    probabilities = classes.softmax(dim=-1)[..., :-1]
    if probabilities.shape[-1] == 1:
        absent = (1 - probabilities[..., None] * masks.sigmoid()).prod(dim=1, keepdim=True)
        return torch.cat([absent, 1 - absent], 1).clamp(min=1e-8).log()
    return torch.einsum("bqk,bqhw->bkhw", probabilities, masks.sigmoid()).clamp(min=1e-8).log()


def _check_known(config: dict, folder: Path) -> None:
    """ValueError for a model that the installed transformers does not have."""
    import transformers

    if (model_type := config.get("model_type")) not in transformers.CONFIG_MAPPING:
        raise ValueError(
            f"guider {folder.name!r}: transformers {transformers.__version__} has no model_type "
            f"{model_type!r}; a newer one may"
        )


def _kind(config: dict, folder: Path) -> tuple[Head, str]:
    """The head, and the name of the class in transformers that loads it."""
    from transformers.models.auto import modeling_auto

    model_type = config["model_type"]
    architecture = (config.get("architectures") or ["model without a task"])[0]
    if model_type in ASK_IN_WORDS:
        raise ValueError(
            f"guider {folder.name!r}: {model_type} has to be told in words what to segment: choose "
            f"a Mask2Former or MaskFormer"
        )
    for kind, head_and_loader in KINDS.items():
        names = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").get(model_type, ())
        if architecture in ((names,) if isinstance(names, str) else names):
            return head_and_loader
    raise ValueError(
        f"guider {folder.name!r} is a {architecture} ({model_type}), which is no guider: choose a "
        f"model for depth estimation, semantic segmentation or image classification, or a CLIP, "
        f"SigLIP or DINO"
    )


def _is_metric(config: dict, folder: Path) -> bool:
    """Whether the network answers in metres; the others answer with inverse depth.

    DepthPro's network answers with inverse depth, and its processor inverts that. DPT is MiDaS
    (inverse depth), except DINOv2's heads (NYU, KITTI: metres), which have a projection.
    """
    kinds = {
        "depth_anything": config.get("depth_estimation_type") == "metric",
        "depth_pro": False,
        "dpt": bool(config.get("add_projection")),
        "glpn": True,
        "zoedepth": True,
    }
    model_type = config["model_type"]
    if model_type not in kinds:
        raise ValueError(
            f"guider {folder.name!r}: whether {model_type!r} answers with depth or with nearness "
            f"is not known to this pack: choose one of {', '.join(kinds)}"
        )
    return kinds[model_type]
