"""Guidance: the gradient of a guider's log-likelihood, as a shift of the denoised estimate."""

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .experts import NoiseExperts
from .guiders import Guider
from .noise import per_sample
from .targets import ClassTarget
from .views import View, identity


@dataclass(frozen=True)
class Strength:
    """How strongly, by which rule and where guidance acts.

    `guidance_scale`: 0 is off. `rule`: "raw" multiplies the gradient (the paper's s); "relative"
    gives every picture a shift whose norm is that share of the noise's own. The interval is in
    shares of the host's schedule, 0 at the start.
    """

    guidance_scale: float
    rule: str = "raw"
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"scale rule is one of {', '.join(RULES)}, got {self.rule!r}")
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


class GuidanceStep(NamedTuple):
    """`shift`: what is added to `denoised`, shaped like x. `log_likelihood`: (B,)."""

    shift: Tensor
    log_likelihood: Tensor


def raw_shift(score: Tensor, sigma_ve: Tensor, scale: float) -> Tensor:
    """scale * sigma_ve^2 / sqrt(1 + sigma_ve^2) * score.

    `score` is the gradient in x_vp. For every family this equals the classifier guidance of DDIM,
    eps - sqrt(1 - alpha_bar) score (Dhariwal & Nichol, 2021, algorithm 2).
    """
    return scale * per_sample(sigma_ve.square() / (1 + sigma_ve.square()).sqrt(), score) * score


def relative_shift(score: Tensor, sigma_ve: Tensor, scale: float) -> Tensor:
    """The score's direction; in eps its norm is `scale` sqrt(1 - alpha_bar) times eps' own.

    Norms are per picture, and eps' is its expectation, sqrt(number of values) (compare FreeDoM's
    rule, Yu et al., 2023).
    """
    norms = torch.linalg.vector_norm(score.flatten(1), dim=1).clamp(min=1e-20)
    size = score[0].numel() ** 0.5 * sigma_ve.square() / (1 + sigma_ve.square()).sqrt()
    return scale * per_sample(size / norms, score) * score


RULES = {"raw": raw_shift, "relative": relative_shift}


class Guidance:
    """A guider (with experts or plain), a target and a strength, ready to be asked per step."""

    def __init__(
        self,
        guider: Guider,
        target: ClassTarget,
        strength: Strength,
        experts: NoiseExperts | None = None,
        view: View = identity,
    ):
        if guider.info.task != target.task:
            raise ValueError(
                f"the guider predicts {guider.info.task}, the target is for {target.task}"
            )
        self.guider = guider
        self.target = target
        self.strength = strength
        self.experts = experts
        self.view = view
        self._warned = False

    def score(self, x_vp: Tensor, sigma_ve: float) -> GuidanceStep:
        """Gradient of log p(target | x_vp) in `x_vp` (B, ...), and log p itself.

        Runs anywhere, inside torch.inference_mode() too. A picture whose gradient
        is not finite gets none at this step.
        """
        self.guider.switch.activate(self.experts and self.experts.select(sigma_ve))
        with torch.inference_mode(False), torch.enable_grad():
            x_vp = x_vp.detach().clone().float().requires_grad_(True)
            log_likelihood = self.target.log_likelihood(self.guider(self.view(x_vp)))
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), x_vp)
        return GuidanceStep(self._finite(gradient), log_likelihood.detach())

    def _finite(self, gradient: Tensor) -> Tensor:
        finite = gradient.isfinite().flatten(1).all(dim=1)
        if finite.all():
            return gradient
        if not self._warned:
            logging.warning("PPAP: the guider's gradient is not finite; that step is left unguided")
            self._warned = True
        return torch.where(per_sample(finite, gradient), gradient, 0.0)

    def __call__(self, x_vp: Tensor, sigma_ve: Tensor) -> GuidanceStep:
        """One guided step at `sigma_ve` (B,), all equal: a batch shares its noise level."""
        if not torch.equal(sigma_ve, sigma_ve[:1].expand_as(sigma_ve)):
            raise ValueError("all pictures of a batch share one noise level; this batch does not")
        score, log_likelihood = self.score(x_vp, float(sigma_ve[0]))
        shift = RULES[self.strength.rule](score, sigma_ve, self.strength.guidance_scale)
        return GuidanceStep(shift, log_likelihood)
