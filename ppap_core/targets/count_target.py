"""How many objects of a class a detector, or a segmentation model, should find."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .wording import Wording, in_wording, short_name

SURE = 0.5  # the probability from which on a query is a detection
LEAST = 0.005  # of the picture: smaller regions are no objects
MOST = 100


@dataclass(frozen=True)
class CountTarget(ABC):
    """That the picture shows exactly `number` objects of the class `index` of `num_classes`."""

    index: int
    number: int
    num_classes: int
    task: ClassVar[str]
    answer: ClassVar[str]
    has_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.num_classes:
            raise ValueError(
                f"class index {self.index} is out of range: the guider knows 0 to "
                f"{self.num_classes - 1}"
            )
        if not 0 <= self.number <= MOST:
            raise ValueError(f"a number of objects is 0 to {MOST}, got {self.number}")

    @abstractmethod
    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """The guider's answer for B pictures -> (B,), in float32."""

    @abstractmethod
    def count(self, prediction: Tensor) -> Tensor:
        """How many objects the guider finds in each of B pictures: (B,)."""

    def agreement(self, prediction: Tensor) -> Tensor:
        """Whether as many were found as asked for: (B,), 0 or 1."""
        return (self.count(prediction) == self.number).float()

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told; `labels`: the guider's."""
        asked = f"{self.number} x {short_name(labels[self.index])}"
        told = in_wording(asked)
        return Wording(
            f"exactly {told} in {{}} of the pictures, now in {{}}",
            f"exactly {told}: in {{}} -> {{}} of the pictures",
            f"pictures with exactly {asked}",
        )

    def _check(self, prediction: Tensor, axes: int, axis: int, num: int) -> None:
        if prediction.ndim != axes or prediction.shape[axis] != num:
            raise ValueError(
                f"the target was made for {self.num_classes} classes, the guider answers "
                f"{tuple(prediction.shape)}: connect the same guider to both nodes"
            )


@dataclass(frozen=True)
class DetectionCountTarget(CountTarget):
    """Of a detector, with p_(1) >= p_(2) >= ... the probabilities of the class over its queries:

        log P = sum_(i <= n) log p_(i) + log(1 - p_(n+1)).

    That the n surest detections are objects and the next one is none. The rest is left out: it is
    less likely still, and detectors with sigmoids give hundreds of queries small probabilities that
    mean nothing (as in BoxesTarget).
    """

    task = "boxes"
    answer = "log-odds"

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: log-odds and boxes (B, Q, K + 4) -> (B,)."""
        surest = self._log_odds(prediction).sort(dim=1, descending=True).values
        present = F.logsigmoid(surest[:, : self.number]).sum(1)
        return present + F.logsigmoid(-surest[:, self.number : self.number + 1]).sum(1)

    def count(self, prediction: Tensor) -> Tensor:
        """Queries that are at least `SURE` of the class: (B, Q, K + 4) -> (B,)."""
        return (self._log_odds(prediction).sigmoid() >= SURE).sum(1)

    def _log_odds(self, prediction: Tensor) -> Tensor:
        self._check(prediction, 3, 2, self.num_classes + 4)
        if prediction.shape[1] < self.number:
            raise ValueError(
                f"{self.number} objects are asked for, but this detector finds "
                f"{prediction.shape[1]} at most: lower the widget number of Target Count"
            )
        return prediction[..., self.index].float()


@dataclass(frozen=True)
class RegionCountTarget(CountTarget):
    """Of a segmentation model: how many regions of the class are not connected with each other.

    log P = -|count - n|, up to a constant: a Laplace distribution of the count. A count has no
    gradient, so this target chooses among pictures (particles.py) and cannot move one.
    """

    task = "segmentation"
    answer = "softmax"
    has_gradient = False

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: logits (B, K, h, w) -> (B,)."""
        return -(self.count(prediction) - self.number).abs().float()

    def count(self, prediction: Tensor) -> Tensor:
        """Regions of at least `LEAST` of the picture, corners connect: (B, K, h, w) -> (B,)."""
        from scipy.ndimage import label  # takes a while, and only counts need it

        self._check(prediction, 4, 1, self.num_classes)
        found = []
        for is_class in (prediction.argmax(dim=1) == self.index).cpu():
            regions, _ = label(is_class.numpy(), torch.ones(3, 3).numpy())
            areas = torch.from_numpy(regions).flatten().bincount()[1:]
            found.append(int((areas >= LEAST * is_class.numel()).sum()))
        return torch.tensor(found, device=prediction.device)
