"""A class for every pixel; the classes exclude each other."""

from typing import TYPE_CHECKING

from torch import Tensor

from ..targets.count_target import RegionCountTarget
from ..targets.palettes import HUES
from ..targets.segmentation_maps import SEGMENTS, show_segments
from ..targets.segmentation_target import SegmentationTarget
from .class_task import class_agreement, class_loss, mean_distribution
from .maps import RECOMMENDED, last_answers
from .task import CLASSES, Comparison, Preview, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def segmentation_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) per pixel, averaged over pixels and images."""
    pixels = (x.movedim(1, -1).flatten(0, -2) for x in (answer, teacher))
    return class_loss(*pixels, temperature)


def preview_segments(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets."""
    logits, names = last_answers(answers, num)
    target = SegmentationTarget(logits.argmax(dim=1), logits.shape[1])
    return Preview(target, names, show_segments(target, info.labels, HUES)[0])


SEGMENTATION = Task(
    name="segmentation",
    answers={"softmax": "one for each pixel (softmax)"},
    shape=(CLASSES, "h", "w"),
    targets=(SegmentationTarget, RegionCountTarget),
    model="a segmentation model",
    target_nodes="Target Depth/Seg Map, Target Mask per Class or Target Count",
    recommended=RECOMMENDED,
    comparisons={
        "softmax": Comparison(
            segmentation_loss, class_agreement, "pixels of the same class", mean_distribution
        )
    },
    preview=preview_segments,
    maps=SEGMENTS,
)
