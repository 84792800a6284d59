"""Boxes: which objects a detector sees, and where."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..targets.boxes import box_loss, iou, to_corners
from ..targets.boxes_drawing import draw_boxes
from ..targets.boxes_target import FITS, Box, BoxesTarget
from ..targets.count_target import DetectionCountTarget
from .class_task import tag_kl
from .maps import last_answers
from .task import CLASSES_AND_BOX, Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo

SURE = 0.5  # the probability from which on a query is a detection


def boxes_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL of the classes' own yes and no, and `box_loss`, summed over queries; per picture.

    Boxes count by how sure the teacher is of them. Each of its queries is compared with one of the
    student's, which `match` finds: most detectors order queries by their scores, so the same object
    may change its place.
    """
    answer = answer.gather(1, match(answer, teacher)[..., None].expand_as(answer))
    classes = tag_kl(answer[..., :-4], teacher[..., :-4] / temperature)
    boxes = box_loss(*(to_corners(x[..., -4:]) for x in (answer, teacher)))
    return (classes.sum(dim=2) + _surety(teacher) * boxes).sum(dim=1).mean()


@torch.no_grad()
def match(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B, Q): for each of the teacher's queries one of the student's; each is taken once.

    Those that make the sum of differences in classes and boxes least, weighted by how sure the
    teacher is: DETR's matching (Carion et al., 2020, equation 2), with a teacher for labels.
    """
    from scipy.optimize import linear_sum_assignment  # takes a while, and only training needs it

    p, wanted = (x[..., :-4].sigmoid() for x in (answer, teacher))
    boxes, places = (to_corners(x[..., -4:]) for x in (answer, teacher))
    cost = torch.cdist(wanted, p, p=1) + box_loss(places[:, :, None], boxes[:, None])
    cost = (cost * _surety(teacher)[..., None]).nan_to_num(nan=1e6).cpu().numpy()
    found = [torch.from_numpy(linear_sum_assignment(picture)[1]) for picture in cost]
    return torch.stack(found).to(answer.device)


def _surety(answer: Tensor) -> Tensor:
    """(B, Q, K + 4) -> (B, Q): the probability of each query's likeliest class."""
    return answer[..., :-4].amax(dim=2).sigmoid()


def boxes_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): of both answers' detections, the share that the other has too; 1 if there are none.

    The same: of one class, with an IoU of at least FITS.
    """
    seen = [(_surety(x) >= SURE, x[..., :-4].argmax(2), x[..., -4:]) for x in (answer, teacher)]
    (sure, classes, boxes), (other_sure, other_classes, other_boxes) = seen
    overlap = iou(to_corners(boxes)[:, :, None], to_corners(other_boxes)[:, None])
    same = (overlap >= FITS) & (classes[:, :, None] == other_classes[:, None])
    same &= sure[:, :, None] & other_sure[:, None]
    both = same.any(2).sum(1) + same.any(1).sum(1)
    total = sure.sum(1) + other_sure.sum(1)
    return torch.where(total > 0, both / total.clamp(min=1), 1.0)


def mean_queries(teacher: Tensor, temperature: float) -> Tensor:
    """For each query the mean probabilities, and the mean box by how sure the teacher is of it."""
    p = (teacher[..., :-4] / temperature).sigmoid().mean(dim=0, keepdim=True)
    weight = _surety(teacher)[..., None]
    boxes = (teacher[..., -4:] * weight).sum(0, keepdim=True) / weight.sum(0, keepdim=True)
    return torch.cat((p.logit(eps=1e-7), boxes), 2)


def preview_boxes(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets: what it is sure of, or the surest if there is nothing."""
    last, names = last_answers(answers, num)
    target = BoxesTarget([_detections(answer) for answer in last], len(info.labels))
    return Preview(target, names, draw_boxes(target.rows, info.labels, (1, 1), bold=True))


def _detections(answer: Tensor) -> list[Box]:
    """(Q, K + 4) -> boxes, the surest first, each inside the picture."""
    surety, corners = _surety(answer[None])[0], to_corners(answer[:, -4:]).clamp(0, 1)
    sides = corners[:, 2:] - corners[:, :2]
    surety = surety.where(sides.amin(1) > 0, -1.0)
    order = surety.argsort(descending=True)
    chosen = order[: max(1, int((surety >= SURE).sum()))]
    if surety[order[0]] < 0:  # only boxes without an area
        return [Box(int(answer[order[0], :-4].argmax()), (0.0, 0.0, 1.0, 1.0))]
    return [Box(int(answer[q, :-4].argmax()), tuple(corners[q].tolist())) for q in chosen]


BOXES = Task(
    name="boxes",
    answers={"log-odds": "how sure it is of each class (log-odds), and a box, for every query"},
    shape=("q", CLASSES_AND_BOX),
    targets=(BoxesTarget, DetectionCountTarget),
    model="a detector (DETR, RT-DETR, D-FINE, YOLOS)",
    target_nodes="Target Boxes or Target Count",
    recommended=Recommended(
        x_t=Recommendation(0.3),  # that of maps: not measured for boxes
        x0_hat=Recommendation(0.5, "half-wiener"),
        through_model=Recommendation(0.5, "half-wiener"),
        fading=Recommendation(2.0, "half-wiener", "fade"),
        experts_jacobian="jvp",
        wiener=0.2,
    ),
    comparisons={
        "log-odds": Comparison(
            boxes_loss,
            boxes_agreement,
            "detections that both have",
            mean_queries,
            shrink=lambda answer, size: answer,  # no map
        )
    },
    preview=preview_boxes,
)
