"""Loss of a student's answer against its teacher's, and their agreement; a row for each kind.

Answers are as a `Guider` gives them: class logits or scores (B, K), segmentation logits
(B, K, h, w), depth (B, h, w), larger is nearer. The kind is that of its GuiderInfo. Every loss is a
mean per picture, every agreement lies in [-1, 1] or [0, 1] and is 1 where both answers are the
same: the report prints it as a percentage.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..targets.depth_target import aligned_squared_error, standardised

DENSE_SIDE = 64  # dense answers are stored, and compared, at no more than this


def class_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) in nats per image; the teacher's logits are divided by `temperature`.

    Go et al. (2023), section 4.3; their code takes 0.25.
    """
    target = (teacher / temperature).log_softmax(dim=-1)
    return F.kl_div(answer.log_softmax(dim=-1), target, reduction="batchmean", log_target=True)


def segmentation_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """The same KL per pixel, averaged over pixels and images."""
    pixels = (x.movedim(1, -1).flatten(0, -2) for x in (answer, teacher))
    return class_loss(*pixels, temperature)


def tag_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL of the classes' own yes and no, summed over the classes; in nats per image."""
    target = teacher / temperature
    yes, no = target.sigmoid(), (-target).sigmoid()
    differences = (
        yes * (F.logsigmoid(target) - F.logsigmoid(answer)),
        no * (F.logsigmoid(-target) - F.logsigmoid(-answer)),
    )
    return sum(differences).sum(dim=1).mean()


def score_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Half the squared error: the KL of Gaussians of variance `temperature`."""
    return ((answer - teacher).square() / (2 * temperature)).sum(dim=1).mean()


def depth_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Squared error of the two maps once both are aligned, as a `DepthTarget` aligns them."""
    return aligned_squared_error(answer, teacher, torch.ones_like(teacher)).mean()


def depth_mse(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Plain squared error, as in the official code; it depends on the guider's units."""
    return (answer - teacher).square().mean()


def class_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): 1 where the most likely class is the same; for segmentation the share of pixels."""
    same = (answer.argmax(dim=1) == teacher.argmax(dim=1)).float()
    return same.flatten(1).mean(dim=1) if same.ndim > 1 else same


def tag_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): of the classes that one or both see, the share that both see; 1 if there are none.

    The share of all classes would be near 1 for any answer: a tagger denies most of its tags.
    """
    student, other = answer > 0, teacher > 0
    either = (student | other).sum(dim=1)
    return torch.where(either > 0, (student & other).sum(dim=1) / either.clamp(min=1), 1.0)


def score_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): how many of the other pictures stand to this one in the same order, as a share."""
    orders = [(x[:, None] - x[None]).sign() for x in (answer, teacher)]
    same = (orders[0] == orders[1]).float().mean(dim=2)
    num = len(same)
    return (same.sum(dim=1) - 1) / (num - 1) if num > 1 else torch.ones_like(same[:, 0])


def depth_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): Pearson's correlation of the two maps."""
    centred = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (answer, teacher))
    return F.cosine_similarity(*centred, dim=1)


@dataclass(frozen=True)
class Comparison:
    """How answers of one kind are compared.

    `loss`: (answer, teacher, temperature) -> scalar; answers without logits ignore the temperature.
    `agreement`: (answer, teacher) -> (B,). `constant`: (teacher, temperature) -> the answer, of one
    row, that has the least loss among those that ignore the picture.
    """

    loss: Callable[..., Tensor]
    agreement: Callable[[Tensor, Tensor], Tensor]
    agreement_name: str
    constant: Callable[[Tensor, float], Tensor]


def _mean_distribution(teacher: Tensor, temperature: float) -> Tensor:
    return (teacher / temperature).softmax(dim=1).mean(dim=0, keepdim=True).log()


def _mean_tags(teacher: Tensor, temperature: float) -> Tensor:
    return (teacher / temperature).sigmoid().mean(dim=0, keepdim=True).logit(eps=1e-7)


def _mean_answer(teacher: Tensor, temperature: float) -> Tensor:
    return teacher.mean(dim=0, keepdim=True)


def _mean_depth(teacher: Tensor, temperature: float) -> Tensor:
    return standardised(teacher, torch.ones_like(teacher)).mean(dim=0, keepdim=True)


COMPARISONS = {
    "class": Comparison(class_loss, class_agreement, "same class", _mean_distribution),
    "class, sigmoid": Comparison(tag_loss, tag_agreement, "classes that both see", _mean_tags),
    "class, score": Comparison(
        score_loss, score_agreement, "pairs of pictures in the same order", _mean_answer
    ),
    "segmentation": Comparison(
        segmentation_loss, class_agreement, "pixels of the same class", _mean_distribution
    ),
    "depth": Comparison(depth_loss, depth_agreement, "correlation", _mean_depth),
    "depth, mse": Comparison(depth_mse, depth_agreement, "correlation", _mean_answer),
}


def loss_kind(kind: str, depth_loss: str = "aligned") -> str:
    """The row of COMPARISONS for a guider's `kind`; `depth_loss`: "aligned" or "mse".

    ValueError for a kind whose answers cannot be compared: no experts can be trained for it.
    """
    if kind not in COMPARISONS:
        raise ValueError(
            f"experts cannot be trained for a guider that predicts {kind}: use one that predicts "
            f"one of {', '.join(known for known in COMPARISONS if known != 'depth, mse')}"
        )
    return "depth, mse" if (kind, depth_loss) == ("depth", "mse") else kind


def loss_function(kind: str, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """(student's answer, teacher's answer) -> loss, a scalar; `kind`: as of `loss_kind`."""
    loss = COMPARISONS[kind].loss
    return lambda answer, teacher: loss(downscale(answer), teacher, temperature)


def downscale(answer: Tensor) -> Tensor:
    """A dense answer at no more than DENSE_SIDE pixels a side; an answer that is no map, as it is.

    A map is (B, h, w) or (B, K, h, w).
    """
    if answer.ndim < 3 or max(answer.shape[-2:]) <= DENSE_SIDE:
        return answer
    height, width = answer.shape[-2:]
    ratio = DENSE_SIDE / max(height, width)
    size = tuple(max(1, round(side * ratio)) for side in (height, width))
    planes = answer if answer.ndim == 4 else answer[:, None]
    small = F.interpolate(planes, size, mode="bilinear", antialias=True)
    return small if answer.ndim == 4 else small[:, 0]


def constant_loss(kind: str, teacher: Tensor, temperature: float) -> float:
    """The loss of always giving the best constant answer to `teacher`'s pictures."""
    comparison = COMPARISONS[kind]
    constant = comparison.constant(teacher, temperature).expand_as(teacher)
    return comparison.loss(constant, teacher, temperature).item()


@torch.no_grad()
def compare(kind: str, answer: Tensor, teacher: Tensor, temperature: float) -> tuple[float, float]:
    """(loss, agreement), averaged over the pictures."""
    comparison = COMPARISONS[kind]
    return (
        comparison.loss(answer, teacher, temperature).item(),
        comparison.agreement(answer, teacher).mean().item(),
    )
