"""What a picture's embedding should be near to, and away from: words, or other pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows
from .wording import Wording, in_wording, listed

LOGIT_SCALE = 100.0  # CLIP's, for models that have none
LONGEST = 60  # characters of a text in a report


@dataclass(frozen=True, eq=False)
class EmbeddingTarget:
    """What is asked of a model that answers with unit vectors, such as CLIP or DINO.

    sum_k w_k s cos(e, y_k), the model's own logits; a weight below 0 leads away from y_k. Words of
    a model that was trained with a sigmoid (SigLIP, Zhai et al., 2023, has a `bias` b) are judged
    as it learned them: sum_k |w_k| log sigmoid(+-(s cos(e, y_k) + b)), with the sign of w_k. Its
    pictures are not: they are so much nearer to each other that the sigmoid has no gradient.

    `embeddings`: (R, M, D), M things for each of R pictures, or for all if R is 1; the first
    `num_words` of the M are words, the others pictures. `weights`: (R, M), not 0. `names`: of the M
    in a person's words, where R is 1. `scale`: s. `made_for`: the fingerprint of the guider.
    """

    embeddings: Tensor
    weights: Tensor
    names: Sequence[str] = ()
    num_words: int = 0
    scale: float = LOGIT_SCALE
    bias: float | None = None
    made_for: str | None = None
    task = "embedding"

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 3 or self.embeddings.shape[:2] != self.weights.shape:
            raise ValueError(
                f"embeddings are (R, M, D) and weights (R, M), got "
                f"{tuple(self.embeddings.shape)} and {tuple(self.weights.shape)}"
            )
        if not self.weights.numel():
            raise ValueError("nothing is asked for: name a text or a picture")
        for value in self.weights.flatten().tolist():
            if not math.isfinite(value) or value == 0:
                raise ValueError(
                    f"a weight is a finite number other than 0 (below 0: away from it), got {value}"
                )
        with torch.inference_mode(False), torch.no_grad():
            own = self.embeddings.to("cpu", torch.float32, copy=True)
            object.__setattr__(self, "embeddings", F.normalize(own, dim=-1))
            object.__setattr__(self, "weights", self.weights.to("cpu", torch.float32, copy=True))

    @property
    def num_rows(self) -> int:
        return len(self.weights)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: unit vectors (B, D) -> (B,), in float32."""
        logits = self.scale * self.cosines(prediction)
        weights = self.weights.to(logits)
        if self.bias is None:
            return (weights * logits).sum(1)
        judged = weights.abs() * F.logsigmoid(weights.sign() * (logits + self.bias))
        words = torch.arange(logits.shape[1], device=logits.device) < self.num_words
        return torch.where(words, judged, weights * logits).sum(1)

    def agreement(self, prediction: Tensor) -> Tensor:
        """Unit vectors (B, D) -> (B,). Of SigLIP's words the mean probability that each fits, or
        does not, as asked. Of all else the weighted mean cosine with what is wanted, or, where
        nothing is, with what is to be left.
        """
        cosines = self.cosines(prediction)
        weights = self.weights.to(cosines)
        if self._is_probability:
            return torch.sigmoid(weights.sign() * (self.scale * cosines + self.bias)).mean(1)
        wanted = weights.clamp(min=0)
        shares = torch.where(wanted.sum(1, keepdim=True) > 0, wanted, -weights)
        return (shares * cosines).sum(1) / shares.sum(1)

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        names, is_away = self._told()
        told = in_wording(names)
        if self._is_probability:
            return Wording(
                f"the guider was {{}} sure of {told}, now {{}}",
                f"{{}} -> {{}} sure of {told}",
                f"sure of {names}",
            )
        away = "away from " * is_away
        return Wording(
            f"the likeness to {told} was {{}}, now {{}} (cosine)",
            f"{away}{told}: {{}} -> {{}} alike",
            f"cosine with {names}",
            is_share=False,
            has_end=False,
        )

    @property
    def _is_probability(self) -> bool:
        return self.bias is not None and self.num_words == self.weights.shape[1]

    def _told(self) -> tuple[str, bool]:
        """What is wanted, in words; or what is to be left, and that it is."""
        if self.num_rows > 1 or not self.names:
            return "what is asked for", False
        named = list(zip(map(_short, self.names), self.weights[0].tolist(), strict=True))
        wanted = [name for name, weight in named if weight > 0]
        unwanted = [name for name, weight in named if weight < 0]
        if self._is_probability:
            return listed([*wanted, *(f"no {name}" for name in unwanted)], "and"), False
        return listed(wanted or unwanted, "and"), not wanted

    def cosines(self, prediction: Tensor) -> Tensor:
        """Unit vectors (B, D) -> (B, M). ValueError for what is none of this guider's."""
        dimensions = self.embeddings.shape[-1]
        if prediction.ndim != 2 or prediction.shape[-1] != dimensions:
            raise ValueError(
                f"the target was made for embeddings of {dimensions} numbers, the guider answers "
                f"{tuple(prediction.shape)}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")
        seen = prediction.float()
        return (self.embeddings.to(seen) * seen[:, None]).sum(-1)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 4]} ..."
