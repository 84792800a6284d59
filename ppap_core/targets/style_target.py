"""The style of a reference picture: the statistics of what a network sees, wherever it sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import check_rows
from .wording import Wording


@dataclass(frozen=True, eq=False)
class StyleTarget:
    """Minus half the mean squared difference of the channels' means and deviations.

    Each is divided by the deviation of its channel in the reference, so that loud channels count no
    more than others. Means and deviations are the statistics of AdaIN (Huang and Belongie, 2017,
    arXiv:1703.06868, equation 13).

    `statistics`: of the reference pictures (R, 2 C), means before deviations; R is 1 or the batch's
    size. `made_for`: the fingerprint of the guider.
    """

    statistics: Tensor
    made_for: str | None = None
    task = "style"

    def __post_init__(self) -> None:
        if self.statistics.ndim != 2 or self.statistics.shape[1] % 2:
            raise ValueError(f"statistics are (R, 2 C), got {tuple(self.statistics.shape)}")
        with torch.inference_mode(False), torch.no_grad():
            own = self.statistics.to("cpu", torch.float32, copy=True)
            object.__setattr__(self, "statistics", own)

    @property
    def num_rows(self) -> int:
        return len(self.statistics)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: statistics (B, 2 C) -> (B,), in float32."""
        return -self._error(prediction) / 2

    def agreement(self, prediction: Tensor) -> Tensor:
        """The root mean squared difference, in deviations of the channels: (B, 2 C) -> (B,)."""
        return self._error(prediction).sqrt()

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "the style was {} deviations away from the reference's, now {}",
            "style differs by {} -> {} deviations",
            "difference of style (deviations of channels)",
            is_share=False,
            has_end=False,
        )

    def _error(self, prediction: Tensor) -> Tensor:
        if prediction.ndim != 2 or prediction.shape[1] != self.statistics.shape[1]:
            raise ValueError(
                f"the target was made for {self.statistics.shape[1]} statistics, the guider "
                f"answers {tuple(prediction.shape)}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")
        wanted = self.statistics.to(prediction.device)
        scale = wanted.chunk(2, 1)[1].repeat(1, 2)
        return ((prediction.float() - wanted) / scale).square().mean(1)
