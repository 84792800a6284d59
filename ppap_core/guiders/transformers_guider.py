"""transformers models for depth, semantic segmentation and classification, from a local folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import one_line
from .answers import (
    class_answer,
    refuse_overlapping_classes,
    segmentation_labels,
    with_background,
)
from .guider import ANSWERS, Guider, GuiderInfo, fingerprint
from .labels import numbered
from .model_folder import CONFIG, WEIGHTS, read_weights, weights_variant
from .plain_folder import in_utf8
from .transformers_preprocessing import transformers_preprocessing

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PretrainedConfig

KINDS = {  # transformers' name of what a model does: our task, and the class that loads it
    "DEPTH_ESTIMATION": ("depth", "AutoModelForDepthEstimation"),
    "SEMANTIC_SEGMENTATION": ("segmentation", "AutoModelForSemanticSegmentation"),
    "UNIVERSAL_SEGMENTATION": ("segmentation", "AutoModelForUniversalSegmentation"),
    "IMAGE_CLASSIFICATION": ("class", "AutoModelForImageClassification"),
}
ASK_IN_WORDS = ("oneformer",)  # models with a second input: what to segment, as tokens
MIN_DEPTH = 1e-3  # metres


class TransformersModel(nn.Module):
    """A transformers model that answers with one tensor: pixels (B, 3, h, w) -> what a Guider does.

    Class and segmentation logits are passed on, one class of segmentation with its background.
    Universal segmentation models, and DETR, answer with masks and the class of each: these become
    the logarithms of a semantic map. Depth becomes nearness, larger
    is nearer: `metric` models answer in metres, so that is 1 / depth.
    ComfyUI's patchers set a module's `device`, which transformers' own modules refuse: this one
    takes it.
    """

    def __init__(self, model: nn.Module, task: str, metric: bool = False):
        super().__init__()
        self.model = model
        self.task = task
        self.metric = metric

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.model(pixel_values=pixels, return_dict=True)
        if "masks_queries_logits" in answer:
            return _semantic_logits(answer.class_queries_logits, answer.masks_queries_logits)
        if "pred_masks" in answer:
            return _semantic_logits(answer.logits, answer.pred_masks)
        if self.task == "segmentation":
            return with_background(answer.logits)
        if self.task == "class":
            return answer.logits
        depth = answer.predicted_depth
        return 1 / depth.clamp(min=MIN_DEPTH) if self.metric else depth

    def get_classifier(self) -> nn.Module | None:
        """The last layer of a classifier, by the names that transformers gives it."""
        if self.task != "class":
            return None
        heads = (getattr(self.model, name, None) for name in ("classifier", "fc", "head"))
        return next((head for head in heads if isinstance(head, nn.Linear)), None)


def load_transformers_folder(folder: Path, config: dict) -> Guider:
    """Build the model that `config` names, with `folder`'s weights and preprocessing.

    ValueError, in one line, for a folder without safetensors, a model that transformers does not
    know or whose task is none of ours, and weights that do not fit.
    """
    weights = read_weights(folder)
    task, loader = _kind(config, folder)
    metric = task == "depth" and _is_metric(config, folder)
    model = _load(loader, folder)
    try:
        answer = _answer(model.config, task)
    except ValueError as error:
        raise ValueError(f"guider {folder.name!r}: {one_line(error)}") from None
    info = GuiderInfo(
        source=f"transformers/{folder.name}",
        architecture=type(model).__name__,
        task=task,
        labels=_labels(model.config, task),
        fingerprint=fingerprint(weights),
        answer=answer,
    )
    preprocessing = transformers_preprocessing(
        folder, whole=task != "class", channels=_channels(model.config)
    )
    return Guider(TransformersModel(model, task, metric), preprocessing, info)


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


def _kind(config: dict, folder: Path) -> tuple[str, str]:
    """The task, and the name of the class in transformers that loads it."""
    import transformers
    from transformers.models.auto import modeling_auto

    model_type = config.get("model_type")
    if model_type not in transformers.CONFIG_MAPPING:
        raise ValueError(
            f"guider {folder.name!r}: transformers {transformers.__version__} has no model_type "
            f"{model_type!r}; a newer one may"
        )
    architecture = (config.get("architectures") or ["model without a task"])[0]
    if model_type in ASK_IN_WORDS:
        raise ValueError(
            f"guider {folder.name!r}: {model_type} has to be told in words what to segment: choose "
            f"a Mask2Former or MaskFormer"
        )
    for kind, task_and_loader in KINDS.items():
        names = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").get(model_type, ())
        if architecture in ((names,) if isinstance(names, str) else names):
            return task_and_loader
    raise ValueError(
        f"guider {folder.name!r} is a {architecture} ({model_type}), which is no guider: choose a "
        f"model for depth estimation, semantic segmentation or image classification"
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


def _load(loader: str, folder: Path) -> nn.Module:
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
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            first = min(map(str, report[kind]))
            what = kind.replace("_", " ")
            raise ValueError(f"{folder / WEIGHTS} does not fit {CONFIG}: {what}: {first}")
    return model


def _answer(config: "PretrainedConfig", task: str) -> str:
    """What the answer's numbers are: one of ANSWERS[task].

    ValueError for segmentation models whose classes overlap.
    """
    settings = config.to_dict()
    if task == "class":
        return class_answer(settings, config.num_labels)
    if task == "segmentation":
        refuse_overlapping_classes(settings, config.num_labels)
    return ANSWERS[task][0]


def _labels(config: "PretrainedConfig", task: str) -> tuple[str, ...]:
    if task == "depth":
        return ()
    labels = numbered(config.id2label, config.num_labels)
    return segmentation_labels(labels) if task == "segmentation" else labels


def _channels(config: "PretrainedConfig") -> int:
    """How many channels the network's pictures have."""
    parts = (config, getattr(config, "backbone_config", None))
    return next((p.num_channels for p in parts if getattr(p, "num_channels", None)), 3)
