"""One sampling under a guidance: from each state a shift of the estimate, and a record of it."""

import time
import weakref
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .guidance import Guidance, wording_of
from .guiders import GuiderInfo
from .jacobian import Denoiser
from .noise import per_sample
from .shaping import PUSH_ON, Moments, fading
from .spectrum import SPECTRA
from .strength import RULES, Strength, noise_norm, norms
from .targets.wording import Wording

THUMBNAIL = 128  # pixels


@dataclass
class GuidanceRecord:
    """One guided evaluation: the noise level, its expert, means over the batch of `pictures`.

    `agreement`: how far the answer meets the target, as the target's own `agreement` says; None if
    it does not. `gradient`: the norm of the log-likelihood's gradient in x_vp. `share`: the shift's
    norm as a share of the noise's. `seconds`: of the process; the checks at both ends of a shift
    wait for the device. `seen`, `where`: small copies, for the batch's first picture, of what the
    guider read and of how much each place was moved. Tensors stay on their device while sampling;
    reading one synchronises the GPU.
    """

    sigma_ve: float
    expert: int | None
    log_likelihood: Tensor  # ()
    gradient: Tensor  # ()
    share: Tensor  # ()
    seconds: float
    seen: Tensor  # (3, h, w) in [-1, 1]
    where: Tensor  # (h, w), from 0 on
    agreement: Tensor | None = None  # ()
    pictures: int = 1

    def to_cpu(self) -> "GuidanceRecord":
        tensors = ("log_likelihood", "gradient", "share", "where", "agreement")
        given = {name: getattr(self, name) for name in tensors}
        moved = {name: value.cpu() for name, value in given.items() if value is not None}
        return replace(self, **moved, seen=self.seen.half().cpu())  # graphs keep many of them


class Sampling(NamedTuple):
    """A whole sampling: its steps, evaluations of the model, and seconds; 0 where not known."""

    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def followed_by(self, later: "Sampling") -> "Sampling":
        return Sampling(*(a + b for a, b in zip(self, later, strict=True)))


UNKNOWN = Sampling()


@dataclass(frozen=True)
class Outcome:
    """What a finished run did. It keeps no model alive; `guidance` points to what it followed.

    `info`: what the guider says of itself. `input`: what it read. `wording`: how the records'
    agreement is told, None if the target cannot say. `sampling`: the whole of which this run guided
    a part. `num_bytes`: kept for the backward pass; 0 if unknown. `remark`: on what the guider was
    shown, for the report.
    `lost_steps`: how many steps left a picture unguided because its gradient was not finite.
    `stale_steps`: how many steps a cache answered in place of the diffusion model.
    """

    guidance: weakref.ref[Guidance]
    info: GuiderInfo
    strength: Strength
    num_experts: int
    records: tuple[GuidanceRecord, ...]
    lost_steps: int
    stale_steps: int
    num_bytes: int
    input: str = "x_t"
    wording: Wording | None = None
    remark: str = ""
    sampling: Sampling = UNKNOWN

    def followed_by(self, later: "Outcome") -> "Outcome":
        """What both did together: two samplings by one guidance, each for a part of the steps."""
        return replace(
            self,
            records=self.records + later.records,
            lost_steps=self.lost_steps + later.lost_steps,
            stale_steps=self.stale_steps + later.stale_steps,
            num_bytes=max(self.num_bytes, later.num_bytes),
            sampling=self.sampling.followed_by(later.sampling),
        )


class GuidanceRun:
    """Follows `guidance` through one sampling, with moving averages of its own."""

    def __init__(self, guidance: Guidance, num_bytes: int = 0, remark: str = ""):
        self.guidance = guidance
        self.num_bytes = num_bytes
        self.remark = remark
        self.records: list[GuidanceRecord] = []
        self.lost_steps = 0
        self.stale_steps = 0
        self._moments = Moments(guidance.shaping)
        self._evaluations = 0

    def takes_turn(self) -> bool:
        """Whether this evaluation of the model is to be guided: one of every `shaping.every` is."""
        self._evaluations += 1
        return (self._evaluations - 1) % self.guidance.shaping.every == 0

    def shift(
        self,
        x_vp: Tensor,
        sigma_ve: Tensor,
        denoised: Tensor | None = None,
        denoise: Denoiser | None = None,
    ) -> Tensor:
        """What is added to `denoised`, shaped like `x_vp` (B, ...), at `sigma_ve` (B,), all equal.

        A picture whose gradient is not finite is not moved. `denoised`, `denoise`: as in
        Guidance.score.
        """
        if not torch.equal(sigma_ve, sigma_ve[:1].expand_as(sigma_ve)):
            raise ValueError("all pictures of a batch share one noise level; this batch does not")
        begin = time.perf_counter()
        guidance, level = self.guidance, float(sigma_ve[0])
        score = guidance.score(x_vp, level, denoised, denoise)
        self.lost_steps += score.is_lost
        self.stale_steps += score.is_stale
        averaged = self._moments.update(score.gradient)
        choose_frequencies = SPECTRA[guidance.shaping.spectrum]
        gradient = choose_frequencies(averaged, sigma_ve, guidance.data_spectrum)
        gain = norms(gradient) / norms(averaged)
        share = guidance.shaping.share_of(x_vp)
        if (region := guidance.region_like(gradient)) is not None:
            gradient, share = gradient * region, share * region.square().flatten(1).mean(dim=1)
        rule = RULES[guidance.strength.rule]
        shift = rule(gradient, sigma_ve, guidance.strength.guidance_scale, share, gain)
        if (when_met := guidance.shaping.when_met) != PUSH_ON:
            shift = shift * per_sample(fading(score.missing, when_met), shift)
        shift = guidance.shaping.limit(shift, sigma_ve, share)
        self.records.append(
            GuidanceRecord(
                sigma_ve=level,
                expert=guidance.experts and guidance.experts.index(level),
                log_likelihood=score.log_likelihood.mean(),
                gradient=norms(score.gradient).mean(),
                share=(norms(shift) / noise_norm(shift, sigma_ve)).mean(),
                seconds=time.perf_counter() - begin,
                seen=_thumbnail(score.image[:1])[0],
                where=_thumbnail(_magnitude(shift[:1]))[0, 0],
                agreement=None if score.agreement is None else score.agreement.mean(),
                pictures=len(x_vp),
            )
        )
        return shift

    def wording(self) -> Wording | None:
        """How the agreement in the records is told; None if the target cannot say."""
        return wording_of(self.guidance.target, self.guidance.guider.info)

    def outcome(self, sampling: Sampling = UNKNOWN) -> Outcome:
        """What this run has done so far; its tensors are on the CPU, where a graph keeps them."""
        guidance = self.guidance
        return Outcome(
            guidance=weakref.ref(guidance),
            info=guidance.guider.info,
            strength=guidance.strength,
            num_experts=len(guidance.experts or ()),
            records=tuple(record.to_cpu() for record in self.records),
            lost_steps=self.lost_steps,
            stale_steps=self.stale_steps,
            num_bytes=self.num_bytes,
            remark=self.remark,
            input=guidance.input,
            wording=self.wording(),
            sampling=sampling,
        )


def _magnitude(shift: Tensor) -> Tensor:
    """(1, C, [T,] h, w) -> (1, 1, h, w): mean absolute value over channels and frames."""
    return shift.reshape(1, -1, *shift.shape[-2:]).abs().mean(1, keepdim=True)


def _thumbnail(images: Tensor) -> Tensor:
    """(B, C, H, W), no side longer than THUMBNAIL."""
    scale = THUMBNAIL / max(images.shape[-2:])
    if scale >= 1:
        return images.clone()
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="area")
