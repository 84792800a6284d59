"""Several reference pictures for every picture: it is led to the mean of those nearest to it."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import own_mask
from .picture_target import PictureTarget
from .pictures import average

LONGEST = 128  # pixels: a side of what is compared
LEAST = 1e-6  # variance: references that are all alike


@dataclass(frozen=True, eq=False)
class ReferenceMeanTarget(PictureTarget):
    """The log-density of the references y_1 .. y_R, each blurred by a Gaussian, for every picture.

    With e_r the mean squared error of a picture x from y_r, log p(x) = 2 s^2 log mean_r
    exp(-e_r / 2 s^2). Its gradient leads to sum_r w_r y_r with w = softmax(-e / 2 s^2), which is
    the posterior mean of the references for a picture that is known but for an error of s^2:
    "Follow the Mean" (arXiv 2605.10302), without a network. s^2 is the mean error of a reference
    from the nearest other one, so references share the weight as far as they are like each other.
    Of one reference this is minus its squared error. `mask`: where references count, (R or 1, H, W)
    in [0, 1]. `variance`: s^2.
    """

    mask: Tensor | None = None
    variance: float = field(default=1.0, init=False)
    words = (
        "the nearest references agreed at a PSNR of {} dB, now of {} dB",
        "nearest references agree: PSNR {} -> {} dB",
        "nearest references agree (PSNR in dB)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mask", own_mask(self.mask, self.reference[:, 0]))
        if len(self.reference) > 1:
            with torch.inference_mode(False):
                nearest = self.errors(self.reference).fill_diagonal_(math.inf).amin(1)
            object.__setattr__(self, "variance", max(nearest.mean().item(), LEAST))

    @property
    def num_rows(self) -> int:
        """All references are for every picture of the batch."""
        return 1

    def errors(self, pictures: Tensor) -> Tensor:
        """Mean squared errors of pictures (B, 3, h, w) from each reference: (B, R)."""
        size = _compared(pictures.shape[-2:], self.reference.shape[-2:])
        seen = average(pictures, size)
        wanted, weight = (average(x, size).to(seen) for x in (self.reference, self.mask[:, None]))
        middle = wanted.mean(0)  # squares of small numbers are more exact
        seen, wanted = seen - middle, wanted - middle
        weight = (weight / weight.sum((2, 3), keepdim=True) / 3).expand_as(wanted)
        a, b, w = seen.flatten(1), wanted.flatten(1), weight.flatten(1)
        return (a.square() @ w.T - 2 * a @ (b * w).T + (b.square() * w).sum(1)).clamp(min=0)

    def _error(self, pictures: Tensor) -> Tensor:
        width = 2 * self.variance
        logs = (-self.errors(pictures) / width).logsumexp(1) - math.log(len(self.reference))
        return -width * logs


def _compared(*sizes: tuple[int, int]) -> tuple[int, int]:
    """The size at which pictures of these sizes are compared."""
    height, width = map(min, zip(*sizes, strict=True))
    scale = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
