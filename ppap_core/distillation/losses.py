"""Loss of a student's answer against its teacher's, and their agreement.

Answers are as a `Guider` gives them. How those of each kind are compared is said by their task
(`tasks.Comparison`); the kind is that of the guider's GuiderInfo.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..tasks import comparisons, trainable_kinds

AT_ONCE = 16  # answers: boxes are matched in much memory
DENSE_SIDE = 64  # dense answers are stored, and compared, at no more than this


def loss_kind(kind: str, depth_loss: str = "aligned") -> str:
    """The key of `comparisons` for a guider's `kind`; `depth_loss`: which variant, if it has it.

    ValueError for a kind whose answers cannot be compared: no experts can be trained for it.
    """
    if kind not in (kinds := trainable_kinds()):
        raise ValueError(
            f"experts cannot be trained for a guider that predicts {kind}: use one that predicts "
            f"one of {', '.join(kinds)}"
        )
    variant = f"{kind}, {depth_loss}"
    return variant if variant in comparisons() else kind


def loss_function(kind: str, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(student's answer, teacher's answer) -> loss, a scalar; `kind`: as of `loss_kind`."""
    loss = comparisons()[kind].loss
    return lambda answer, teacher: loss(downscale(answer, kind), teacher, temperature)


def downscale(answer: Tensor, kind: str) -> Tensor:
    """A dense answer at no more than DENSE_SIDE pixels a side; an answer that is no map, as it is.

    A map is (B, h, w) or (B, K, h, w). `kind`: as of `loss_kind`, whose comparison says how.
    """
    if answer.ndim < 3 or max(answer.shape[-2:]) <= DENSE_SIDE:
        return answer
    height, width = answer.shape[-2:]
    ratio = DENSE_SIDE / max(height, width)
    size = tuple(max(1, round(side * ratio)) for side in (height, width))
    planes = answer if answer.ndim == 4 else answer[:, None]
    small = comparisons()[kind].shrink(planes, size)
    return small if answer.ndim == 4 else small[:, 0]


def constant_loss(kind: str, teacher: Tensor, temperature: float) -> float:
    """The loss of always giving the best constant answer to `teacher`'s pictures."""
    comparison = comparisons()[kind]
    constant, total = comparison.constant(teacher, temperature), 0.0
    for part in teacher.split(AT_ONCE):
        loss = comparison.loss(constant.expand_as(part), part, temperature)
        total += len(part) * loss.item()
    return total / len(teacher)


@torch.no_grad()
def compare(kind: str, answer: Tensor, teacher: Tensor, temperature: float) -> tuple[float, float]:
    """(loss, agreement), averaged over the pictures."""
    comparison = comparisons()[kind]
    return (
        comparison.loss(answer, teacher, temperature).item(),
        comparison.agreement(answer, teacher).mean().item(),
    )
