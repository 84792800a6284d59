"""How strongly guidance moves a picture: the rules that turn a gradient into a shift."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import per_sample

RECOMMENDED = "recommended"


@dataclass(frozen=True)
class Strength:
    """How strongly, by which rule and where guidance acts.

    `guidance_scale`: 0 is off. What it means is up to `rule`. "recommended": multiples of what
    evidence recommends for the guider's task (recommended.py). "relative": every picture's shift
    has a norm that is this share of the noise's own. "raw": multiplies the gradient (the paper's
    s). The interval is in shares of the host's schedule, 0 at the start.
    """

    guidance_scale: float = 1.0
    rule: str = RECOMMENDED
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self):
        if self.rule not in (known := (RECOMMENDED, *RULES)):
            raise ValueError(f"scale rule is one of {', '.join(known)}, got {self.rule!r}")
        if not math.isfinite(self.guidance_scale):
            raise ValueError(f"guidance_scale is a finite number, got {self.guidance_scale}")
        if not 0 <= self.start_percent <= 1 or not 0 <= self.end_percent <= 1:
            raise ValueError(
                f"start and end of guidance lie in [0, 1], got {self.start_percent} and "
                f"{self.end_percent}"
            )

    @property
    def is_off(self) -> bool:
        return self.guidance_scale == 0 or self.start_percent >= self.end_percent


def raw_shift(score: Tensor, sigma_ve: Tensor, scale: float, *_: Tensor | float) -> Tensor:
    """scale * sigma_ve^2 / sqrt(1 + sigma_ve^2) * score.

    `score` is the gradient in x_vp. For every family this equals the classifier guidance of DDIM,
    eps - sqrt(1 - alpha_bar) score (Dhariwal & Nichol, 2021, algorithm 2). What else the rule
    relative is told is in the score already.
    """
    return scale * per_sample(sigma_ve.square() / (1 + sigma_ve.square()).sqrt(), score) * score


def relative_shift(
    score: Tensor,
    sigma_ve: Tensor,
    scale: float,
    share: Tensor | float = 1.0,
    gain: Tensor | float = 1.0,
) -> Tensor:
    """The score's direction; in eps its norm is `scale` sqrt(1 - alpha_bar) times eps' own.

    Where a filter of frequencies has changed the score's norm by the factor `gain` (B,), it changes
    that of the shift as much.

    Norms are per picture, and eps' is its expectation, sqrt(number of values), in the `share` of
    the picture that is guided (compare FreeDoM's rule, Yu et al., 2023). No shift is larger than
    data is (mean square 1): near pure noise a share of the noise is many times that, and a flow
    sampler, whose first step takes nearly all noise away, would keep it.
    """
    size = scale * gain * noise_norm(score, sigma_ve, share)
    size = torch.minimum(size, data_norm(score, share))
    return per_sample(size / norms(score), score) * score


RULES = {"raw": raw_shift, "relative": relative_shift}


def norms(values: Tensor) -> Tensor:
    """(B, ...) -> (B,), per picture, never 0."""
    return torch.linalg.vector_norm(values.flatten(1), dim=1).clamp(min=1e-20)


def noise_norm(like: Tensor, sigma_ve: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """The norm of the shift of `denoised`, shaped `like` (B, ...), that would undo all noise.

    In eps: sqrt(1 - alpha_bar) times the expected norm of eps. `share`: of the picture, in [0, 1].
    """
    return (like[0].numel() * share) ** 0.5 * sigma_ve.square() / (1 + sigma_ve.square()).sqrt()


def data_norm(like: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """The norm of data shaped `like` (B, ...), whose values have a mean square of 1: ()."""
    return torch.as_tensor(like[0].numel() * share, dtype=like.dtype, device=like.device).sqrt()
