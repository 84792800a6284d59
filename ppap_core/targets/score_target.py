"""A score to raise, or to lower, until it is as wished."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import check_rows
from .wording import Wording, in_wording


@dataclass(frozen=True)
class ScoreTarget:
    """What is asked of a guider that answers with one score s of each picture, in its own unit.

    Raised, the log-likelihood is min(s, w) with the `wished` score w, lowered it is -max(s, w):
    the logarithm of a distribution tilted towards high rewards (Uehara et al., 2025,
    arXiv:2501.09685, section 2), whose reward rises no more where the wish is met. There the
    gradient is 0, and a picture is pushed no further: reward models are fooled when they are
    followed too far (Clark et al., 2024, arXiv:2309.17400, section 5).

    `wished`: one for all pictures, or one for each of the batch; none for no end. `made_for`: the
    fingerprint of the guider.
    """

    wished: tuple[float, ...] = ()
    raises: bool = True
    made_for: str | None = None
    task = "class"
    answer = "score"

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.wished)):
            raise ValueError(f"a wished score is a finite number, got {self.wished}")

    @property
    def num_rows(self) -> int:
        return max(1, len(self.wished))

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: scores (B, 1) -> (B,), in float32."""
        scores = self.agreement(prediction)
        reached = scores if self.raises else -scores
        if self.wished:
            ends = scores.new_tensor(self.wished)
            reached = torch.minimum(reached, ends if self.raises else -ends)
        return reached

    def agreement(self, prediction: Tensor) -> Tensor:
        """The score itself: (B, 1) -> (B,)."""
        if prediction.ndim != 2 or prediction.shape[1] != 1:
            raise ValueError(
                f"the target reads one score (B, 1), the guider answers "
                f"{tuple(prediction.shape)}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")
        return prediction[:, 0].float()

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told; `labels`: the guider's."""
        name = labels[0] if labels else "the guider"
        told, end = in_wording(name), in_wording(self.wish)
        return Wording(
            f"the score {told} was {{}}, now {{}}{end}",
            f"{told} {{}} -> {{}}{end}",
            f"score {name}",
            is_share=False,
            has_end=False,
        )

    def describe(self, name: str, references: Sequence[float] = ()) -> str:
        """What is asked of the score `name`, and the scores of pictures, in a few lines."""
        ends = ", ".join(f"{end:g}" for end in self.wished)
        what = f"{'raises' if self.raises else 'lowers'} the score {name}"
        each = " (one for each picture)" if len(self.wished) > 1 else ""
        lines = [f"{what} until it is {ends}{each}" if ends else f"{what} without an end"]
        if references:
            told = ", ".join(f"{score:.2f}" for score in references)
            lines.append(f"the score of image: {told}")
        if not ends:
            lines.append("pictures may come to fool the guider: write a score into wished")
        return "\n".join(lines)

    @property
    def wish(self) -> str:
        """In brackets, for the end of a sentence; "" for no end, or for one of each picture."""
        if len(self.wished) != 1:
            return ""
        return f" (wished: {self.wished[0]:g} or {'more' if self.raises else 'less'})"
