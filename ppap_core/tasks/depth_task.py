"""A map of depth, up to scale and shift."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..targets.depth_maps import NEARNESS, show_nearness
from ..targets.depth_target import DepthTarget, aligned_squared_error, standardised
from .class_task import mean_answer
from .maps import RECOMMENDED, last_answers
from .task import Comparison, Preview, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def depth_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Squared error of the two maps once both are aligned, as a `DepthTarget` aligns them."""
    return aligned_squared_error(answer, teacher, torch.ones_like(teacher)).mean()


def depth_mse(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Plain squared error, as in the official code; it depends on the guider's units."""
    return (answer - teacher).square().mean()


def depth_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): Pearson's correlation of the two maps."""
    centred = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (answer, teacher))
    return F.cosine_similarity(*centred, dim=1)


def _mean_depth(teacher: Tensor, temperature: float) -> Tensor:
    return standardised(teacher, torch.ones_like(teacher)).mean(dim=0, keepdim=True)


def preview_depth(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets."""
    nearness, names = last_answers(answers, num)
    target = DepthTarget(nearness)
    return Preview(target, names, show_nearness(target, (), "")[0])


DEPTH = Task(
    name="depth",
    answers={"nearness": "nearness, larger is nearer"},
    shape=("h", "w"),
    targets=(DepthTarget,),
    model="a depth model",
    target_nodes="Target Depth/Seg Map",
    recommended=RECOMMENDED,
    comparisons={
        "nearness": Comparison(
            depth_loss,
            depth_agreement,
            "correlation",
            _mean_depth,
            variants={"mse": Comparison(depth_mse, depth_agreement, "correlation", mean_answer)},
        )
    },
    preview=preview_depth,
    maps=NEARNESS,
)
