"""Which objects a detector should see in which boxes, in which it should not, and nowhere else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows
from .boxes import area, box_loss, common_area, iou, to_corners
from .wording import Wording, in_wording, short_name

FITS = 0.5  # IoU from which on a detection counts as one of the box: that of PASCAL VOC and COCO
WHOLE = 0.0, 0.0, 1.0, 1.0  # the corners of the picture
CERTAIN = 1 - 1e-6  # a probability: beyond it, logarithms of what is left are no numbers
TINY = -15.0  # log-probabilities below it are as good as those of small probabilities


class Box(NamedTuple):
    """`index`: the class. `corners`: left, top, right, bottom in [0, 1]. `weight`: not 0; below 0
    no object of the class is wanted there.
    """

    index: int
    corners: tuple[float, float, float, float]
    weight: float = 1.0


@dataclass(frozen=True)
class BoxesTarget:
    """That each box holds an object of its class, or none, and that wanted ones are not elsewhere.

    A detector answers with queries q: the probability p_q(c) of each class, and a box a_q. For a
    wanted box b of class c,

        log P_b = log(1 - prod_q (1 - p_q(c) m(a_q, b))),   m(a, b) = exp(-box_loss(a, b)),

    that at least one query is an object of the class in the box. m is 1 where the boxes are the
    same. Its logarithm is the loss that detectors learn boxes with, so it is the likelihood that
    they were trained for, and has a gradient where boxes do not overlap. While all p m are small,
    log P is that of their sum, so the queries that are nearest to what is asked for share the
    gradient.

    A box b of a weight below 0 wants no object of its class:

        log N_b = log(1 - max_q p_q(c) i_q),   i_q = |a_q and b| / min(|a_q|, |b|),

    so an object counts as far as it lies in the box, or covers it.

    Elsewhere: for a wanted class c, log N_c = log(1 - max_q p_q(c) o_q), where o_q is the share of
    a_q that lies outside each wanted box of the class.

    Of what is unwanted the surest detection decides: detectors with sigmoids give hundreds of
    queries small probabilities, which mean nothing, and would outweigh it together.

    The log-likelihood is the mean of log P_b and log N_b, weighted by the sizes of the boxes'
    weights, and `outside` times the mean of log N_c over wanted classes. `rows`: the boxes of each
    picture of the batch, or one row for all of them.
    """

    rows: Sequence[Sequence[Box]]
    num_classes: int
    outside: float = 1.0
    task = "boxes"
    answer = "log-odds"

    def __post_init__(self) -> None:
        if not self.rows or not all(self.rows):
            raise ValueError("each picture asks for one box or more")
        if not 0 <= self.outside < math.inf:
            raise ValueError(f"outside is 0 or above, got {self.outside}")
        for box in (box for row in self.rows for box in row):
            _check(box, self.num_classes)

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: log-odds and boxes (B, Q, K + 4), as a detector answers -> (B,)."""
        return self._of_each(self._log_likelihood, prediction)

    def agreement(self, prediction: Tensor) -> Tensor:
        """How sure the detector is of what is asked: (B, Q, K + 4) -> (B,) in [0, 1].

        Of each box the highest probability of its class among queries whose IoU with it is at least
        FITS, 0 if there is none; of an unwanted one 1 - max_q p_q i_q. Averaged by weight.
        """
        return self._of_each(_sure, prediction)

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told; `labels`: the guider's."""
        names = {told_name(box, labels) for row in self.rows for box in row}
        num = max(map(len, self.rows))
        what = names.pop() if len(names) == 1 else "what is asked for"
        place = "the box" if num == 1 else "the boxes"
        if all(box.weight < 0 and box.corners == WHOLE for row in self.rows for box in row):
            place = "the picture"
        told = f"{what} in {place}"
        sure = f"sure of {in_wording(told)}"
        return Wording(
            f"the detector was {{}} {sure}, now {{}}", f"{{}} -> {{}} {sure}", f"sure of {told}"
        )

    def _of_each(
        self, measure: Callable[[Sequence[Box], Tensor, Tensor], Tensor], prediction: Tensor
    ) -> Tensor:
        """`measure` of each picture's row, log-odds (b, Q, K) and corners (b, Q, 4)."""
        if prediction.ndim != 3 or prediction.shape[2] != self.num_classes + 4:
            raise ValueError(
                f"the target was made for {self.num_classes} classes with boxes (B, Q, "
                f"{self.num_classes + 4}), the guider answers {tuple(prediction.shape)}: connect "
                f"the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")
        parts = prediction.float().split(1 if len(self.rows) > 1 else len(prediction))
        return torch.cat(
            [
                measure(row, part[..., :-4], to_corners(part[..., -4:]))
                for row, part in zip(self.rows, parts, strict=True)
            ]
        )

    def _log_likelihood(self, row: Sequence[Box], log_odds: Tensor, corners: Tensor) -> Tensor:
        wanted, weights, classes = _columns(row, corners)
        log_p = F.logsigmoid(log_odds[..., classes])
        there = _log_any(log_p - box_loss(corners[:, :, None], wanted))
        absent = _log_none(log_p.exp() * _inside(corners, wanted))
        total = _weighted(there, absent, weights)
        known = sorted({box.index for box in row if box.weight > 0})
        if not self.outside or not known:
            return total
        shares = common_area(corners[:, :, None], wanted) / area(corners)[:, :, None]
        own = [[n for n, b in enumerate(row) if b.index == c and b.weight > 0] for c in known]
        beyond = torch.stack([1 - shares[..., columns].amax(2) for columns in own], 2)
        elsewhere = _log_none(log_odds[..., known].sigmoid() * beyond)
        return total + self.outside * elsewhere.mean(1)


def _check(box: Box, num_classes: int) -> None:
    if not 0 <= box.index < num_classes:
        raise ValueError(
            f"class index {box.index} is out of range: the guider knows 0 to {num_classes - 1}"
        )
    left, top, right, bottom = box.corners
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"a box is left, top, right, bottom in [0, 1], with left below right and top below "
            f"bottom, got {box.corners}"
        )
    if not math.isfinite(box.weight) or not box.weight:
        raise ValueError(
            f"the weight of a box is a finite number other than 0 (below 0: no object of the class "
            f"in it), got {box.weight}"
        )


def told_name(box: Box, labels: Sequence[str]) -> str:
    """ "cat", or "no cat" of a box that is to be without."""
    return f"{'no ' * (box.weight < 0)}{short_name(labels[box.index])}"


def _columns(row: Sequence[Box], like: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Corners (N, 4), weights (N,) and classes of a picture's boxes."""
    corners = like.new_tensor([box.corners for box in row])
    return corners, like.new_tensor([box.weight for box in row]), [box.index for box in row]


def _log_any(log_p: Tensor) -> Tensor:
    """log(1 - prod_q (1 - p_q)): (B, Q, N) -> (B, N), with a gradient however small all p are."""
    rates = _small_or(log_p, lambda x: (-torch.log1p(-x.exp().clamp(max=CERTAIN))).log())
    return _small_or(rates.logsumexp(1), lambda x: (-torch.expm1(-x.exp())).log())


def _small_or(logs: Tensor, exact: Callable[[Tensor], Tensor]) -> Tensor:
    """`exact`, a function that hardly changes numbers far below 0: these as they are."""
    return torch.where(logs < TINY, logs, exact(logs.clamp(min=TINY)))


def _log_none(p: Tensor) -> Tensor:
    """log(1 - max_q p_q): (B, Q, N) -> (B, N)."""
    return torch.log1p(-p.amax(1).clamp(max=CERTAIN))


def _inside(corners: Tensor, boxes: Tensor) -> Tensor:
    """(B, Q, 4) and (N, 4) -> (B, Q, N): the common area as a share of the smaller of both."""
    smaller = torch.minimum(area(corners)[:, :, None], area(boxes))
    return common_area(corners[:, :, None], boxes) / smaller


def _weighted(wanted: Tensor, unwanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over boxes (B, N) -> (B,), of `unwanted` where a weight (N,) is below 0."""
    each = torch.where(weights > 0, wanted, unwanted)
    return (each * weights.abs()).sum(1) / weights.abs().sum()


def _sure(row: Sequence[Box], log_odds: Tensor, corners: Tensor) -> Tensor:
    wanted, weights, classes = _columns(row, corners)
    fits = iou(corners[:, :, None], wanted) >= FITS
    p = log_odds[..., classes].sigmoid()
    absent = 1 - (p * _inside(corners, wanted)).amax(1)
    return _weighted((p * fits).amax(1), absent, weights)
