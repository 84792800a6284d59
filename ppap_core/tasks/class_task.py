"""Classes of a picture: of a classifier, a tagger, or scores of a regression."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..targets.class_target import ClassTarget
from ..targets.score_target import ScoreTarget
from .task import CLASSES, Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo

CHUNK = 4096  # answers that are counted at once


def class_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) in nats per image; the teacher's logits are divided by `temperature`.

    Go et al. (2023), section 4.3; their code takes 0.25.
    """
    target = (teacher / temperature).log_softmax(dim=-1)
    return F.kl_div(answer.log_softmax(dim=-1), target, reduction="batchmean", log_target=True)


def tag_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL of the classes' own yes and no, summed over the classes; in nats per image."""
    return tag_kl(answer, teacher / temperature).sum(dim=1).mean()


def tag_kl(answer: Tensor, target: Tensor) -> Tensor:
    """KL(target || answer) of each class's yes and no, from their log-odds; of their shape."""
    yes, no = target.sigmoid(), (-target).sigmoid()
    differences = (
        yes * (F.logsigmoid(target) - F.logsigmoid(answer)),
        no * (F.logsigmoid(-target) - F.logsigmoid(-answer)),
    )
    return sum(differences)


def score_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Half the squared error: the KL of Gaussians of variance `temperature`."""
    return ((answer - teacher).square() / (2 * temperature)).sum(dim=1).mean()


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


def label_answers(labels: Tensor, num_classes: int) -> Tensor:
    """Class labels (N,) as the answers of a teacher who is certain: for the supervised baseline."""
    return 100.0 * F.one_hot(labels, num_classes)


def mean_distribution(teacher: Tensor, temperature: float) -> Tensor:
    sure = (teacher / temperature).log_softmax(dim=1)
    return sure.logsumexp(dim=0, keepdim=True) - math.log(len(sure))


def mean_tags(teacher: Tensor, temperature: float) -> Tensor:
    return (teacher / temperature).sigmoid().mean(dim=0, keepdim=True).logit(eps=1e-7)


def mean_answer(teacher: Tensor, temperature: float) -> Tensor:
    return teacher.mean(dim=0, keepdim=True)


SCORES = Comparison(score_loss, score_agreement, "pairs of pictures in the same order", mean_answer)


def preview_classes(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Classes: those that the teacher saw most often; scores: that each be high, or that the only
    one be high in every picture.
    """
    classes = _seen(info, answers).topk(min(num, answers.shape[1])).indices.tolist()
    if answers.shape[1] == 1 and info.answer == "score":
        classes *= num
    names = [info.labels[k].split(",")[0] for k in classes]
    rows = [{k: 1.0} for k in classes]
    return Preview(ClassTarget(rows, answers.shape[1], answer=info.answer), names)


def _seen(info: "GuiderInfo", answers: "Rows") -> Tensor:
    """(N, K) answers -> (K,): how often each class was seen; for scores, their sums."""
    parts = (answers[rows].float() for rows in torch.arange(len(answers)).split(CHUNK))
    if info.answer == "softmax":
        return sum(part.argmax(dim=1).bincount(minlength=answers.shape[1]) for part in parts)
    return sum((p.sigmoid() if info.answer == "sigmoid" else p).sum(dim=0) for p in parts)


CLASS = Task(
    name="class",
    answers={
        "softmax": "exactly one of them is right (softmax)",
        "sigmoid": "each is present or absent on its own (sigmoid)",
        "score": "a score for each, higher is more",
    },
    shape=(CLASSES,),
    targets=(ClassTarget, ScoreTarget),
    model="a classifier",
    target_nodes="Target Class",
    recommended=Recommended(
        x_t=Recommendation(0.2),
        x0_hat=Recommendation(0.5, "half-wiener"),
        through_model=Recommendation(0.5, "half-wiener"),
        fading=Recommendation(2.0, when_met="fade late"),
        experts_jacobian="jvp",
        wiener=0.2,
    ),
    comparisons={
        "softmax": Comparison(
            class_loss, class_agreement, "same class", mean_distribution, label_answers
        ),
        "sigmoid": Comparison(tag_loss, tag_agreement, "classes that both see", mean_tags),
        "score": SCORES,
    },
    preview=preview_classes,
    recommended_for={
        ScoreTarget: Recommended(
            x_t=Recommendation(0.2),  # that of classes: not measured for scores
            x0_hat=Recommendation(0.03, "half-wiener"),
            through_model=Recommendation(0.1),
            jacobian="wiener",
            experts_jacobian="wiener",
        )
    },
    tells_answers=("score",),
)
