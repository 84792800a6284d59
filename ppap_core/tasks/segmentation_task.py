"""A class for every pixel; the classes exclude each other."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..targets.palettes import HUES
from ..targets.segmentation_maps import SEGMENTS, show_segments
from ..targets.segmentation_target import SegmentationTarget
from .class_task import class_agreement, class_loss, mean_distribution
from .task import CLASSES, Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def segmentation_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) per pixel, averaged over pixels and images."""
    pixels = (x.movedim(1, -1).flatten(0, -2) for x in (answer, teacher))
    return class_loss(*pixels, temperature)


def preview_segments(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """The teacher's answers to the last pictures, which were held out of the training."""
    answers = answers[torch.arange(len(answers))[-num:]].float()
    target = SegmentationTarget(answers.argmax(dim=1), answers.shape[1])
    names = [f"target {i + 1}" for i in range(len(answers))]
    return Preview(target, names, show_segments(target, info.labels, HUES)[0])


SEGMENTATION = Task(
    name="segmentation",
    answers={"softmax": "one for each pixel (softmax)"},
    shape=(CLASSES, "h", "w"),
    targets=(SegmentationTarget,),
    model="a segmentation model",
    target_nodes="Target Depth/Seg Map or Target Mask per Class",
    recommended=Recommended(
        x_t=Recommendation(0.3),
        x0_hat=Recommendation(1.0, "wiener"),
        through_model=Recommendation(0.5),
    ),
    comparisons={
        "softmax": Comparison(
            segmentation_loss, class_agreement, "pixels of the same class", mean_distribution
        )
    },
    preview=preview_segments,
    maps=SEGMENTS,
)
