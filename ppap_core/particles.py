"""Several pictures in flight for each one that is wanted: what does badly is replaced by copies.

Feynman-Kac steering (Singhal et al., 2025, arXiv 2501.06848): every few steps the particles of a
picture are resampled by a score of what they are becoming. No gradient is taken, so any score
serves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import per_sample

FRESH = 0.5  # the share of a copy's noise that is new, so that it goes a way of its own


@dataclass(frozen=True)
class Particles:
    """`num`: for each picture. `every`: how many steps lie between two selections.

    `strictness`: a particle's weight is exp(strictness z), with z its score's distance from the
    mean of its picture's particles, in standard deviations. 0 never selects before the end.
    """

    num: int = 4
    every: int = 1
    strictness: float = 1.0

    def __post_init__(self) -> None:
        if self.num < 1 or self.every < 1 or not self.strictness >= 0:
            raise ValueError(
                f"particles: num and every are at least 1, strictness at least 0; got {self.num}, "
                f"{self.every} and {self.strictness}"
            )

    def select(self, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Which particle each becomes: `scores` (K, G) of G pictures -> indices (K, G).

        Systematic resampling (Kitagawa, 1996). A particle that goes on keeps its place. Scores that
        are not finite have weight 0; where none is finite all particles go on.
        """
        scores = scores.detach().cpu().double()
        weights = self._weights(scores)
        offsets = torch.rand(1, scores.shape[1], generator=generator, dtype=torch.float64)
        return torch.stack(
            [
                _places(_counts(column, float(offset)))
                for column, offset in zip(weights.unbind(1), offsets[0], strict=True)
            ],
            dim=1,
        )

    def _weights(self, scores: Tensor) -> Tensor:
        """(K, G), a sum of 1 for each picture."""
        finite = scores.isfinite()
        known = scores.where(finite, 0.0)
        number = finite.sum(0).clamp(min=1)
        centred = (known - known.sum(0) / number).where(finite, 0.0)
        deviation = (centred.square().sum(0) / number).sqrt()
        z = centred / deviation.where(deviation > 0, 1.0)
        weights = (self.strictness * z).exp().where(finite | ~finite.any(0), 0.0)
        return weights / weights.sum(0)


def _counts(weights: Tensor, offset: float) -> list[int]:
    """How often each particle is taken, by K evenly spaced points from `offset` in [0, 1) on."""
    num = len(weights)
    points = (torch.arange(num, dtype=torch.float64) + offset) / num
    taken = torch.searchsorted(weights.cumsum(0), points, right=True).clamp(max=num - 1)
    return torch.bincount(taken, minlength=num).tolist()


def _places(counts: list[int]) -> Tensor:
    """(K,): itself where a particle goes on, in other places copies of those taken more often."""
    copies = [k for k, count in enumerate(counts) for _ in range(count - 1)]
    return torch.tensor([k if count else copies.pop() for k, count in enumerate(counts)])


def with_fresh_noise(
    x: Tensor, x_0: Tensor, alpha: Tensor, b: Tensor, generator: torch.Generator
) -> Tensor:
    """The states `x` = alpha x_0 + b eps (N, ...) with a share FRESH of new noise, at their level.

    `x_0`: the model's estimate; `alpha`, `b`: (N,). eps keeps its variance.
    """
    alpha, b = per_sample(alpha, x), per_sample(b, x)
    eps = (x - alpha * x_0) / b
    new = torch.randn(x.shape, generator=generator).to(x)
    return alpha * x_0 + b * ((1 - FRESH**2) ** 0.5 * eps + FRESH * new)
