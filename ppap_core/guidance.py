"""Guidance: the gradient of a guider's log-likelihood, as a shift of the denoised estimate."""

import logging
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .expert_file import INPUTS
from .experts import NoiseExperts
from .guiders import Guider
from .jacobian import JACOBIANS, Denoiser
from .noise import per_sample
from .strength import AS_IT_IS, RULES, Moments, Shaping, Strength, noise_norm, norms
from .targets import Target
from .views import View, identity


class GuidanceStep(NamedTuple):
    """`shift`: what is added to `denoised`, shaped like x. `log_likelihood`: (B,)."""

    shift: Tensor
    log_likelihood: Tensor


THUMBNAIL = 128  # pixels


@dataclass
class GuidanceRecord:
    """One guided evaluation: the noise level, its expert, means over the batch.

    `gradient`: the norm of the log-likelihood's gradient in x_vp, as the rule gets it. `share`: the
    shift's norm in that of the noise. `seconds`: of the process, not of the device.
    `seen`, `where`: small copies, of the batch's first picture, of what the guider saw and of how
    much each place of it was moved. Tensors stay on their device while sampling: to read one is to
    wait for it.
    """

    sigma_ve: float
    expert: int | None
    log_likelihood: Tensor  # ()
    gradient: Tensor  # ()
    share: Tensor  # ()
    seconds: float
    seen: Tensor  # (3, h, w) in [-1, 1]
    where: Tensor  # (h, w), from 0 on

    def to_cpu(self) -> "GuidanceRecord":
        tensors = ("log_likelihood", "gradient", "share", "seen", "where")
        return replace(self, **{name: getattr(self, name).cpu() for name in tensors})


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
        shaping: Shaping = AS_IT_IS,
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
        self.shaping = shaping
        self.records: list[GuidanceRecord] = []
        self.num_bytes = 0  # that its backward pass keeps in a run, as far as who runs it knows
        self._moments = Moments(shaping)
        self._evaluations = 0
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
        self._lost_steps += lost
        return GuidanceStep(gradient, log_likelihood)

    def _gradient(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            seen = seen.detach().clone().float().requires_grad_(True)
            picture = self.view(self.shaping.choose_frames(seen))
            self._seen = _thumbnail(picture.detach()[:1])[0]
            log_likelihood = self.target.log_likelihood(self.guider(picture))
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), seen)
        return gradient, log_likelihood.detach().reshape(len(seen), -1).sum(dim=1)

    def takes_turn(self) -> bool:
        """Whether this evaluation of the model, within the interval, is one to be guided."""
        self._evaluations += 1
        return (self._evaluations - 1) % self.shaping.every == 0

    def start(self) -> None:
        """Beginning of a run."""
        self.records = []
        self._evaluations = self._lost_steps = 0

    def finish(self) -> None:
        """End of a run: the guider is plain again, and what happened is said once."""
        self.guider.switch.restore()
        if self._lost_steps:
            logging.warning(
                f"PPAP: the guider's gradient was not finite at {self._lost_steps} of "
                f"{len(self.records)} guided steps; there pictures were left unguided"
            )
        self._lost_steps = 0
        self._moments.reset()
        self._seen = None
        self.records = [record.to_cpu() for record in self.records]  # a graph keeps them

    def report(self) -> None:
        """Log what a run came to, in one line."""
        log = logging.info if self.records else logging.warning
        log(f"PPAP: {self.summary()}")

    def latest(self) -> str:
        """How far it has come, in one short line."""
        first, last = self.records[0], self.records[-1]
        expert = "" if last.expert is None else f", expert {last.expert}"
        return (
            f"{self.guider.info.task}: log-likelihood {float(first.log_likelihood):.3g} -> "
            f"{float(last.log_likelihood):.3g}, sigma {last.sigma_ve:.3g}{expert}"
        )

    def summary(self) -> str:
        """What the last run came to, in one line."""
        name = f"{self.guider.info.task} guidance by {self.guider.info.architecture}"
        if not self.records:
            return (
                f"{name} did nothing: no step's noise lies in its part of the schedule, "
                f"{self.strength.start_percent:g} to {self.strength.end_percent:g}"
            )
        first, last = (float(self.records[i].log_likelihood) for i in (0, -1))
        share = sum(float(record.share) for record in self.records) / len(self.records)
        seconds = sum(record.seconds for record in self.records) / len(self.records)
        return (
            f"{name}: {len(self.records)} evaluations guided, log-likelihood {first:.3g} -> "
            f"{last:.3g}, each moved by {share:.2g} of its noise in {1000 * seconds:.1f} ms"
        )

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
        begin = time.perf_counter()
        level = float(sigma_ve[0])
        score, log_likelihood = self.score(x_vp, level, denoised, denoise)
        score, share = self._moments.update(score), 1.0
        if (region := self.shaping.region_like(score)) is not None:
            score, share = score * region, region.square().flatten(1).mean(dim=1)
        shift = RULES[self.strength.rule](score, sigma_ve, self.strength.guidance_scale, share)
        shift = self.shaping.limit(shift, sigma_ve, share)
        self.records.append(
            GuidanceRecord(
                level,
                self.experts and self.experts.index(level),
                log_likelihood.mean(),
                norms(score).mean(),
                (norms(shift) / noise_norm(shift, sigma_ve)).mean(),
                time.perf_counter() - begin,
                self._seen,
                _thumbnail(shift[:1].reshape(1, -1, *shift.shape[-2:]).abs().mean(1, True))[0, 0],
            )
        )
        return GuidanceStep(shift, log_likelihood)


def _thumbnail(images: Tensor) -> Tensor:
    """(B, C, H, W), no side longer than THUMBNAIL."""
    scale = THUMBNAIL / max(images.shape[-2:])
    if scale >= 1:
        return images.clone()
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="area")


def _finite(gradient: Tensor) -> tuple[Tensor, bool]:
    """`gradient` without that of pictures where it is not finite; whether there were such."""
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if finite.all():
        return gradient, False
    return torch.where(per_sample(finite, gradient), gradient, 0.0), True
