"""Classes that a classifier should, or should not, see in the picture; or scores to raise."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows
from .wording import Wording, in_wording, listed, short_name

Classes = Mapping[int, float]  # class index -> weight


@dataclass(frozen=True)
class ClassTarget:
    """What is asked of a classifier; `answer` is that of its GuiderInfo, and says how.

    - "softmax": log sum_k w_k p(class_k | image) + sum_j |w_j| log(1 - p(class_j | image)). The
      first sum runs over the weights above 0, divided by their total: a mixture. The second runs
      over those below 0: classes that the picture should not show, each with the strength |w_j|.
    - "sigmoid": sum_k w_k log p(class_k | image) + sum_j |w_j| log(1 - p(class_j | image)), a
      product: the picture should show all of the first and none of the second.
    - "score": sum_k w_k score_k(image), the logarithm of a distribution tilted towards high scores.

    `classes`: index -> weight for all pictures, or a sequence of such mappings, one for each
    picture of the batch. `temperature` divides the logits or scores.
    """

    classes: Classes | Sequence[Classes]
    num_classes: int
    temperature: float = 1.0
    answer: str = "softmax"
    task = "class"

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("no target class given")
        if self.answer not in LIKELIHOODS:
            raise ValueError(f"answer is one of {', '.join(LIKELIHOODS)}, got {self.answer!r}")
        if self.answer == "softmax" and self.num_classes == 1:
            raise ValueError(
                "the guider knows one class only, and a softmax over one class is always sure of "
                "it: there is nothing to ask for"
            )
        for row in self.rows:
            _check_classes(row, self.num_classes)
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature has to be above 0, got {self.temperature}")

    @property
    def rows(self) -> tuple[Classes, ...]:
        """The classes per picture; one row if all pictures share them."""
        return (self.classes,) if isinstance(self.classes, Mapping) else tuple(self.classes)

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: logits or scores (B, K) -> (B,), in float32."""
        self._check(prediction)
        values = prediction.float() / self.temperature
        if self.answer == "softmax":
            values = values.log_softmax(dim=-1)
        return self._of_each(LIKELIHOODS[self.answer], values)

    def agreement(self, prediction: Tensor) -> Tensor:
        """How sure the classifier is of what is asked: logits or scores (B, K) -> (B,).

        In [0, 1], whatever the weights and the temperature. softmax: the probability of the classes
        above 0 together; of none of those below 0, where only such are named. sigmoid: the mean
        over the classes of the probability that each is present, or absent as asked. Scores: their
        weighted sum, in their own unit.
        """
        self._check(prediction)
        return self._of_each(AGREEMENTS[self.answer], prediction.float())

    def missing(self, prediction: Tensor) -> Tensor:
        """1 - `agreement`, exact where that is nearly 1; not of scores."""
        self._check(prediction)
        return self._of_each(MISSING[self.answer], prediction.float())

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told; `labels`: the guider's."""
        names = "the classes asked for" if len(self.rows) > 1 else self._names(labels)
        told = in_wording(names)
        if self.answer == "score":
            return Wording(
                f"the score of {told} was {{}}, now {{}}",
                f"score of {told} {{}} -> {{}}",
                f"score of {names}",
                is_share=False,
                has_end=False,
            )
        who = "tagger" if self.answer == "sigmoid" and self.num_classes > 1 else "classifier"
        average = who == "tagger" and any(len(row) > 1 for row in self.rows)
        sure = f"sure of {told}{' on average' * average}"
        return Wording(
            f"the {who} was {{}} {sure}, now {{}}", f"{{}} -> {{}} {sure}", f"sure of {names}"
        )

    def _names(self, labels: Sequence[str]) -> str:
        (row,) = self.rows
        wanted = [short_name(labels[k]) for k, weight in row.items() if weight > 0]
        unwanted = [f"no {short_name(labels[k])}" for k, weight in row.items() if weight < 0]
        if self.answer == "softmax" and wanted:
            return listed(wanted, "or")
        return listed([*wanted, *unwanted], "and")

    def _check(self, prediction: Tensor) -> None:
        """ValueError unless `prediction` is (B, K) for these classes and rows."""
        if prediction.ndim != 2:
            raise ValueError(
                f"a class target reads logits (B, K), the guider answers "
                f"{tuple(prediction.shape)}: connect a classifier"
            )
        if prediction.shape[-1] != self.num_classes:
            raise ValueError(
                f"the target was made for {self.num_classes} classes, the guider answers "
                f"{prediction.shape[-1]}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")

    def _of_each(self, measure: Callable[[Classes, Tensor], Tensor], values: Tensor) -> Tensor:
        """`measure` of each picture's classes and values (B, K) -> (B,)."""
        parts = values.split(1) if len(self.rows) > 1 else [values]
        pairs = zip(self.rows, parts, strict=True)
        return torch.cat([measure(classes, part) for classes, part in pairs])


def _check_classes(classes: Classes, num_classes: int) -> None:
    if not classes:
        raise ValueError("no target class given")
    for index, weight in classes.items():
        if not 0 <= index < num_classes:
            raise ValueError(
                f"class index {index} is out of range: the guider knows 0 to {num_classes - 1}"
            )
        if not math.isfinite(weight) or weight == 0:
            raise ValueError(
                f"the weight of class {index} is a finite number other than 0 (below 0: away from "
                f"it), got {weight}"
            )


def _log_sum(classes: Classes, log_p: Tensor) -> Tensor:
    """A mixture, for classes that exclude each other. `log_p`: (B, K) log-probabilities -> (B,)."""
    wanted = {index: weight for index, weight in classes.items() if weight > 0}
    total = log_p.new_zeros(len(log_p))
    if wanted:
        weights = log_p.new_tensor(list(wanted.values()))
        total = (log_p[:, list(wanted)] + (weights / weights.sum()).log()).logsumexp(dim=-1)
    for index, weight in classes.items():
        if weight < 0:  # log(1 - p) as the sum of the others: exact where p is nearly 1
            others = [k for k in range(log_p.shape[-1]) if k != index]
            total = total - weight * log_p[:, others].logsumexp(dim=-1)
    return total


def _log_product(classes: Classes, logits: Tensor) -> Tensor:
    """All of the classes above 0 and none of those below. `logits`: (B, K) of sigmoids -> (B,)."""
    parts = [  # 1 - sigmoid(z) is sigmoid(-z)
        abs(weight) * F.logsigmoid(logits[:, k] if weight > 0 else -logits[:, k])
        for k, weight in classes.items()
    ]
    return torch.stack(parts).sum(0)


def _weighted_scores(classes: Classes, scores: Tensor) -> Tensor:
    """(B, K) -> (B,)."""
    return torch.stack([weight * scores[:, k] for k, weight in classes.items()]).sum(0)


LIKELIHOODS = {"softmax": _log_sum, "sigmoid": _log_product, "score": _weighted_scores}


def _asked(classes: Classes, num_classes: int) -> tuple[list[int], list[int]]:
    """(those asked for, the others): those above 0; where there are none, all but those below."""
    wanted = {index for index, weight in classes.items() if weight > 0}
    wanted = wanted or set(range(num_classes)) - set(classes)
    return sorted(wanted), sorted(set(range(num_classes)) - wanted)


def _probability(classes: Classes, logits: Tensor) -> Tensor:
    """(B, K) -> (B,): of the classes asked for."""
    return logits.softmax(dim=-1)[:, _asked(classes, logits.shape[-1])[0]].sum(dim=-1)


def _other_probability(classes: Classes, logits: Tensor) -> Tensor:
    """(B, K) -> (B,): of the other classes. 1 - p would be rounding where p is nearly 1."""
    return logits.softmax(dim=-1)[:, _asked(classes, logits.shape[-1])[1]].sum(dim=-1)


def _mean_probability(classes: Classes, logits: Tensor) -> Tensor:
    """(B, K) of sigmoids -> (B,): over the classes, of being present or absent as asked."""
    parts = [torch.sigmoid(math.copysign(1, w) * logits[:, k]) for k, w in classes.items()]
    return torch.stack(parts).mean(0)


def _other_mean_probability(classes: Classes, logits: Tensor) -> Tensor:
    """(B, K) of sigmoids -> (B,): over the classes, of not being as asked."""
    return _mean_probability(classes, -logits)


AGREEMENTS = {"softmax": _probability, "sigmoid": _mean_probability, "score": _weighted_scores}
MISSING = {"softmax": _other_probability, "sigmoid": _other_mean_probability}
