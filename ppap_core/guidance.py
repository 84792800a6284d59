"""Guidance: the gradient of a guider's log-likelihood, as a shift of the denoised estimate."""

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .expert_file import INPUTS
from .experts import NoiseExperts
from .guiders import Guider
from .jacobian import JACOBIANS, Denoiser
from .noise import per_sample
from .targets import Target
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
    """A guider (with experts or plain), a target and a strength, ready to be asked per step.

    `input`: what the guider sees through `view`, the noisy state ("x_t", the paper) or the model's
    denoised estimate ("x0_hat"). `jacobian`: how the gradient in the estimate becomes one in the
    state (jacobian.py). A video's log-likelihood is the sum over its frames: every frame is
    guided as a picture alone would be.
    """

    def __init__(
        self,
        guider: Guider,
        target: Target,
        strength: Strength,
        experts: NoiseExperts | None = None,
        view: View = identity,
        input: str = "x_t",
        jacobian: str = "jvp",
    ):
        if guider.info.task != target.task:
            raise ValueError(
                f"the guider predicts {guider.info.task}, the target is for {target.task}"
            )
        for name, value, known in (("input", input, INPUTS), ("jacobian", jacobian, JACOBIANS)):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r}")
        self.guider = guider
        self.target = target
        self.strength = strength
        self.experts = experts
        self.view = view
        self.input = input
        self.jacobian = jacobian
        self._steps = 0
        self._lost_steps = 0

    def score(
        self,
        x_vp: Tensor,
        sigma_ve: float,
        denoised: Tensor | None = None,
        denoise: Denoiser | None = None,
    ) -> GuidanceStep:
        """Gradient of log p(target | x_vp) in `x_vp` (B, ...), and log p itself (B,).

        For the input "x0_hat", `denoised` is the estimate at `x_vp` and `denoise` makes others.
        Runs anywhere, inside torch.inference_mode() too. A picture whose gradient
        is not finite gets none at this step.
        """
        self.guider.switch.activate(self.experts and self.experts.select(sigma_ve))
        gradient, log_likelihood = self._gradient(x_vp if self.input == "x_t" else denoised)
        gradient, lost = _finite(gradient)
        if self.input == "x0_hat":
            levels = gradient.new_full((len(gradient),), sigma_ve)
            through = JACOBIANS[self.jacobian]
            gradient, also_lost = _finite(through(gradient, x_vp, levels, denoised, denoise))
            lost = lost or also_lost
        self._steps += 1
        self._lost_steps += lost
        return GuidanceStep(gradient, log_likelihood)

    def _gradient(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            seen = seen.detach().clone().float().requires_grad_(True)
            log_likelihood = self.target.log_likelihood(self.guider(self.view(seen)))
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), seen)
        return gradient, log_likelihood.detach().reshape(len(seen), -1).sum(dim=1)

    def finish(self) -> None:
        """End of a run: the guider is plain again, and what went wrong is said once."""
        self.guider.switch.restore()
        if self._lost_steps:
            logging.warning(
                f"PPAP: the guider's gradient was not finite at {self._lost_steps} of "
                f"{self._steps} guided steps; there pictures were left unguided"
            )
        self._steps = self._lost_steps = 0

    def __call__(
        self,
        x_vp: Tensor,
        sigma_ve: Tensor,
        denoised: Tensor | None = None,
        denoise: Denoiser | None = None,
    ) -> GuidanceStep:
        """One guided step at `sigma_ve` (B,), all equal: a batch shares its noise level."""
        if not torch.equal(sigma_ve, sigma_ve[:1].expand_as(sigma_ve)):
            raise ValueError("all pictures of a batch share one noise level; this batch does not")
        score, log_likelihood = self.score(x_vp, float(sigma_ve[0]), denoised, denoise)
        shift = RULES[self.strength.rule](score, sigma_ve, self.strength.guidance_scale)
        return GuidanceStep(shift, log_likelihood)


def _finite(gradient: Tensor) -> tuple[Tensor, bool]:
    """`gradient` without that of pictures where it is not finite; whether there were such."""
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if finite.all():
        return gradient, False
    return torch.where(per_sample(finite, gradient), gradient, 0.0), True
