"""Targets of several parts of the picture, each of which the guider reads by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cut_outs import check_boxes
from .target import Target
from .wording import Wording


@dataclass(frozen=True, eq=False)
class CutOutsTarget:
    """The sum of the log-likelihoods of P targets, each asked of its own part of the picture.

    `targets`: P of one task, of R rows or one. `boxes`: the parts, (R, P, 4), as in cut_outs.py; R
    is 1 or the batch's size. `weights`: of the parts, (R, P), 0 where a picture has fewer.
    """

    targets: tuple[Target, ...]
    boxes: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        check_boxes(self.boxes)
        weights = torch.ones(self.boxes.shape[:2]) if self.weights is None else self.weights
        if self.boxes.shape[:2] != weights.shape or len(self.targets) != weights.shape[1]:
            raise ValueError(
                f"boxes are (R, P, 4) and weights (R, P) for P = {len(self.targets)} targets, got "
                f"{tuple(self.boxes.shape)} and {tuple(weights.shape)}"
            )
        if not (weights >= 0).all() or not (weights.sum(1) > 0).all():
            raise ValueError("weights are at least 0, and each picture asks for one part or more")
        with torch.inference_mode(False), torch.no_grad():
            for name, value in (("boxes", self.boxes), ("weights", weights)):
                object.__setattr__(self, name, value.to("cpu", torch.float32, copy=True))

    @property
    def task(self) -> str:
        return self.targets[0].task

    @property
    def answer(self) -> str:
        return self.targets[0].answer

    @property
    def made_for(self) -> str | None:
        return getattr(self.targets[0], "made_for", None)

    @property
    def num_rows(self) -> int:
        return len(self.boxes)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """The answers about the cut-outs, (B * P, ...) -> (B,)."""
        return self._weighted("log_likelihood", prediction).sum(1)

    def agreement(self, prediction: Tensor) -> Tensor:
        """The weighted mean over the parts, (B * P, ...) -> (B,)."""
        weights = self.weights.to(prediction.device)
        return self._weighted("agreement", prediction).sum(1) / weights.sum(1)

    def wording(self, labels: Sequence[str]) -> Wording:
        return self.targets[0].wording(labels)

    def _weighted(self, measure: str, prediction: Tensor) -> Tensor:
        """Of each part, times its weight: (B, P)."""
        parts = prediction.unflatten(0, (-1, len(self.targets))).unbind(1)
        pairs = zip(self.targets, parts, strict=True)
        each = torch.stack([getattr(target, measure)(part) for target, part in pairs], 1)
        return each * self.weights.to(prediction.device)
