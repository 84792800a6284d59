"""transformers models for maps, poses, boxes and classes, from a local folder."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import one_line
from ..tasks import BOXES, CLASS, DEPTH, NORMALS, POSE, SEGMENTATION, Task
from .answers import (
    class_answer,
    refuse_overlapping_classes,
    segmentation_labels,
    with_background,
)
from .detector import WholeGradient, has_no_object, read_detections
from .embedding_guider import embeds, load_embedding_folder
from .guider import Guider, GuiderInfo, fingerprint
from .labels import numbered
from .model_folder import read_weights
from .open_detector import MODEL_TYPE, load_open_detector
from .pose_guider import PoseGuider, joint_names, needs_data_set
from .transformers_answers import axes_of, is_metric, read_depth, read_normals
from .transformers_model import channels_of, load_model
from .transformers_preprocessing import transformers_preprocessing

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PretrainedConfig
    from transformers.utils import ModelOutput


def _read_logits(answer: "ModelOutput", how: None) -> Tensor:
    return answer.logits


def _read_segments(answer: "ModelOutput", how: None) -> Tensor:
    return with_background(answer.logits)


Meaning = tuple[tuple[str, ...], str]  # the labels, and what the answer's numbers are


def _class_meaning(config: "PretrainedConfig") -> Meaning:
    answer = class_answer(config.to_dict(), config.num_labels)
    return numbered(config.id2label, config.num_labels), answer


def _segment_meaning(config: "PretrainedConfig") -> Meaning:
    """ValueError for models whose classes overlap."""
    refuse_overlapping_classes(config.to_dict(), config.num_labels)
    labels = segmentation_labels(numbered(config.id2label, config.num_labels))
    return labels, SEGMENTATION.usual


def _read_heatmaps(answer: "ModelOutput", how: bool) -> Tensor:
    return answer.heatmaps


def _of_coco(pixels: Tensor, is_needed: bool) -> dict[str, Tensor]:
    """ViTPose+ has layers for each data set that it learned; COCO's are the first."""
    index = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
    return {"dataset_index": index} if is_needed else {}


def _no_inputs(pixels: Tensor, how: Any) -> dict[str, Tensor]:
    return {}


def _nothing_to_settle(config: dict, folder: Path) -> None:
    return None


@dataclass(frozen=True)
class Head:
    """What models of one kind do, and how it is read.

    `task`: ours. `read`: (the model's answer, `settle`'s) -> the guider's. `meaning`: of that, by
    the model's config. `settle`: (config.json, folder) -> what `read` has to know of the model.
    `layers`: names that transformers gives the last layer. `inputs`: (pixels, `settle`'s) -> what
    the model reads beside them. `boxed`: it reads the box around a person. `bounded`: the size that
    it reads has a longest edge too. `around`: what is in force while it answers.
    """

    task: Task
    read: Callable[["ModelOutput", Any], Tensor]
    meaning: Callable[["PretrainedConfig"], Meaning]
    settle: Callable[[dict, Path], Any] = _nothing_to_settle
    layers: tuple[str, ...] = ()
    inputs: Callable[[Tensor, Any], dict[str, Tensor]] = _no_inputs
    boxed: bool = False
    bounded: bool = False
    around: Callable[[], AbstractContextManager] = nullcontext


DEPTH_HEAD = Head(DEPTH, read_depth, lambda config: ((), DEPTH.usual), is_metric)
NORMALS_HEAD = Head(NORMALS, read_normals, lambda config: ((), NORMALS.usual), axes_of)
SEGMENTATION_HEAD = Head(SEGMENTATION, _read_segments, _segment_meaning)
CLASS_HEAD = Head(CLASS, _read_logits, _class_meaning, layers=("classifier", "fc", "head"))
POSE_HEAD = Head(
    POSE,
    _read_heatmaps,
    lambda config: (joint_names(config), POSE.usual),
    needs_data_set,
    inputs=_of_coco,
    boxed=True,
)
BOXES_HEAD = Head(
    BOXES,
    read_detections,
    lambda config: (numbered(config.id2label, config.num_labels), BOXES.usual),
    has_no_object,
    layers=("class_labels_classifier", "class_embed"),
    bounded=True,
    around=WholeGradient,
)
HEADS = (BOXES_HEAD, DEPTH_HEAD, NORMALS_HEAD, POSE_HEAD, SEGMENTATION_HEAD, CLASS_HEAD)
KINDS = {  # transformers' name of what a model does: its head, and the class that loads it
    "DEPTH_ESTIMATION": (DEPTH_HEAD, "AutoModelForDepthEstimation"),
    "NORMAL_ESTIMATION": (NORMALS_HEAD, "AutoModelForNormalEstimation"),
    "OBJECT_DETECTION": (BOXES_HEAD, "AutoModelForObjectDetection"),
    "POSE_ESTIMATION": (POSE_HEAD, "AutoModelForPoseEstimation"),
    "SEMANTIC_SEGMENTATION": (SEGMENTATION_HEAD, "AutoModelForSemanticSegmentation"),
    "UNIVERSAL_SEGMENTATION": (SEGMENTATION_HEAD, "AutoModelForUniversalSegmentation"),
    "IMAGE_CLASSIFICATION": (CLASS_HEAD, "AutoModelForImageClassification"),
}
ASK_IN_WORDS = ("oneformer",)  # models with a second input: what to segment, as tokens


class TransformersModel(nn.Module):
    """A transformers model that answers with one tensor: pixels (B, 3, h, w) -> what a Guider does.

    Class and segmentation logits are passed on, one class of segmentation with its background.
    Universal segmentation models, and DETR, answer with masks and the class of each: these become
    the logarithms of a semantic map. Depth becomes nearness, normals get our axes
    (transformers_answers.py). `how`: what the head's `settle` says, which its `read` needs.
    ComfyUI's patchers set a module's `device`, which transformers' own modules refuse: this one
    takes it.
    """

    def __init__(self, model: nn.Module, head: Head, how: Any = None):
        super().__init__()
        self.model = model
        self.head = head
        self.how = how

    def forward(self, pixels: Tensor) -> Tensor:
        inputs = self.head.inputs(pixels, self.how)
        with self.head.around():
            answer = self.model(pixel_values=pixels, return_dict=True, **inputs)
        if "masks_queries_logits" in answer:
            return _semantic_logits(answer.class_queries_logits, answer.masks_queries_logits)
        if "pred_masks" in answer:
            return _semantic_logits(answer.logits, answer.pred_masks)
        return self.head.read(answer, self.how)

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
    if config["model_type"] == MODEL_TYPE:
        return load_open_detector(folder)
    weights = read_weights(folder)
    head, loader = _kind(config, folder)
    how = head.settle(config, folder)
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
        folder,
        whole=head.task.is_dense,
        channels=channels_of(model.config),
        boxed=head.boxed,
        bounded=head.bounded,
    )
    kind = PoseGuider if head.boxed else Guider
    return kind(TransformersModel(model, head, how), preprocessing, info)


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
        mapping = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES", {})  # older: no normals
        names = mapping.get(model_type, ())
        if architecture in ((names,) if isinstance(names, str) else names):
            return head_and_loader
    raise ValueError(
        f"guider {folder.name!r} is a {architecture} ({model_type}), which is no guider: choose a "
        f"model for depth, normal or pose estimation, object detection, semantic segmentation or "
        f"image classification, or a CLIP, SigLIP, DINO or OWLv2"
    )
