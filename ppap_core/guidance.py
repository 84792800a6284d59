"""What is asked of a guider: which target, how strongly, and what the guider reads.

A `Guidance` is a description that never changes; a `GuidanceRun` (guidance_run.py) follows it
through one sampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from .cut_outs import box_mask, cut_out, cut_sides
from .experts import NoiseExperts
from .guiders import Guider, GuiderInfo
from .jacobian import JACOBIANS, Denoiser, StaleEstimate, without_jacobian
from .noise import per_sample
from .parts import in_parts
from .reading import AUTO, INPUTS
from .recommended import settle, settle_jacobian
from .shaping import NO_SHAPING, PUSH_ON, Shaping
from .spectrum import GENERIC, DataSpectrum
from .strength import Strength
from .targets import Target
from .targets.wording import Wording
from .views import View, identity


class Score(NamedTuple):
    """`gradient`: of log p(target | x_vp) in x_vp (B, ...), and shaped like it.

    `log_likelihood`: (B,). `image`: the pictures that the guider read, or parts of them: (N, 3, H,
    W) in about [-1, 1], where N counts the frames of videos. `is_lost`: some picture's gradient was
    not finite, and is 0. `is_stale`: the Jacobian was left out, since a cache answered for the
    diffusion model. `agreement`: how far each answer meets the target, (B,); None if the target
    cannot say. `missing`: what a share lacks of 1, where shifts fade with it.
    """

    gradient: Tensor
    log_likelihood: Tensor
    image: Tensor
    is_lost: bool
    is_stale: bool = False
    agreement: Tensor | None = None
    missing: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Guidance:
    """A guider, with experts or without, its target, and how it steers.

    `input`: what the guider reads through `view`, the noisy state ("x_t", the paper) or the model's
    denoised estimate ("x0_hat"). `jacobian`: how a gradient in the estimate becomes one in the
    state (jacobian.py). `data_spectrum`: for the Jacobian "wiener" and its spectra. `at_once`: how
    many images of a shape (N, 3, H, W) the guider reads in one pass, by default all. What jacobian,
    strength and shaping leave open is settled here by evidence (recommended.py). The log-likelihood
    of a video is the sum over its frames, so every frame is guided as a picture of its own would
    be. A target with `boxes` (R, P, 4) is asked about P cut-outs of each picture (cut_outs.py), and
    nothing outside them is moved.
    """

    guider: Guider
    target: Target
    strength: Strength = field(default_factory=Strength)
    experts: NoiseExperts | None = None
    input: str = "x_t"
    view: View = identity
    jacobian: str = AUTO
    shaping: Shaping = NO_SHAPING
    data_spectrum: DataSpectrum = GENERIC
    at_once: Callable[[torch.Size], int] = itemgetter(0)

    def __post_init__(self):
        if self.guider.info.task != self.target.task:
            raise ValueError(
                f"the guider predicts {self.guider.info.task}, the target is for {self.target.task}"
            )
        answer = self.guider.info.answer
        if (asked := getattr(self.target, "answer", answer)) != answer:
            raise ValueError(
                f"the guider answers with a {answer}, the target was made for a {asked}: connect "
                f"the same guider to the target and to the sampler"
            )
        made_for = getattr(self.target, "made_for", None)
        if made_for not in (None, self.guider.info.fingerprint):
            raise ValueError(
                "the target was made with another guider, whose answers mean something else: "
                "connect the same guider to the target and to the sampler"
            )
        recommended = self.guider.info.asks.recommends(self.target)
        jacobian = settle_jacobian(recommended, self.jacobian, bool(self.experts))
        object.__setattr__(self, "jacobian", jacobian)
        for name, known in (("input", INPUTS), ("jacobian", JACOBIANS)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r}")
        if self.shaping.when_met not in (AUTO, PUSH_ON) and not self._can_be_met:
            raise ValueError(
                "guidance towards this target cannot fade, for nobody can say what share of it is "
                "met: set when_met of PPAP Guidance Options to auto"
            )
        knows_when_met = bool(self.experts) or recommended.fades_alone
        may_fade = knows_when_met and self._can_be_met
        strength, shaping = settle(
            recommended, self.input, jacobian, self.strength, self.shaping, may_fade
        )
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "shaping", shaping)

    def score(
        self,
        x_vp: Tensor,
        sigma_ve: float,
        denoised: Tensor | None = None,
        denoise: Denoiser | None = None,
    ) -> Score:
        """The gradient of log p(target | x_vp) in `x_vp` (B, ...), and log p itself.

        For the input "x0_hat", `denoised` is the estimate at `x_vp` and `denoise` makes others; if
        it raises StaleEstimate, the Jacobian is "none". Works anywhere, inside
        torch.inference_mode() too. Leaves the expert of `sigma_ve` merged.
        """
        self.guider.switch.activate(self.experts and self.experts.select(sigma_ve))
        score = self._differentiate(x_vp if self.input == "x_t" else denoised)
        if self.input == "x_t":
            return score
        levels = score.gradient.new_full((len(x_vp),), sigma_ve)
        place = score.gradient, x_vp, levels, denoised, denoise
        through_model = JACOBIANS[self.jacobian]
        if self.jacobian == "wiener":
            through_model = partial(through_model, spectrum=self.data_spectrum)
        try:
            gradient, is_stale = through_model(*place), False
        except StaleEstimate:
            gradient, is_stale = without_jacobian(*place), True
        gradient, is_lost = _finite(gradient)
        is_lost = is_lost or score.is_lost
        return score._replace(gradient=gradient, is_lost=is_lost, is_stale=is_stale)

    @torch.no_grad()
    def answer(self, state: Tensor, sigma_ve: float) -> Tensor:
        """The guider's answer to `state` (B, ...): x_vp or the estimate, as `input` says.

        Nothing is differentiated. Leaves the expert of `sigma_ve` merged.
        """
        self.guider.switch.activate(self.experts and self.experts.select(sigma_ve))
        with torch.inference_mode(False):
            return self._read(state.detach().clone().float())[1]

    @property
    def _can_be_met(self) -> bool:
        """Whether the agreement of a Score is a share of what is asked."""
        try:
            wording = wording_of(self.target, self.guider.info)
            return bool(wording and wording.is_share)
        except IndexError:  # the target was made for another guider, as its likelihood will say
            return False

    @property
    def boxes(self) -> Tensor | None:
        """The parts of the picture that the guider reads; None if it reads the whole."""
        return getattr(self.target, "boxes", None)

    def read_shape(self, images: torch.Size) -> torch.Size:
        """Of what the guider reads of `images` (N, 3, H, W)."""
        if self.boxes is None:
            return images
        sides = cut_sides(self.boxes, images[-2:], self.guider.preprocessing)
        return torch.Size((images[0] * self.boxes.shape[1], images[1], *sides))

    def region_like(self, x: Tensor) -> Tensor | None:
        """Where `x` (B, C, [frames,] h, w) may be moved, (B or 1, 1, [1,] h, w); None: anywhere."""
        region = self.shaping.region_like(x)
        if self.boxes is None:
            return region
        read = box_mask(self.boxes, x.shape[-2:]).to(x)[:, None]
        if x.ndim == 5:  # boxes may have a row for each frame of the decoded video
            read = read.amax(0, keepdim=True)[:, :, None]
        return read if region is None else read * region

    def _read(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures of which the guider reads all or parts, and its answer."""
        image = read = self.view(self.shaping.choose_frames(state))
        if self.boxes is not None:
            read = cut_out(image, self.boxes, self.guider.preprocessing)
        return image, in_parts(self.guider, read, self.at_once(read.shape))

    def _differentiate(self, state: Tensor) -> Score:
        """The score in `state`, which is what the guider reads."""
        with torch.inference_mode(False), torch.enable_grad():
            state = state.detach().clone().float().requires_grad_(True)
            image, answer = self._read(state)
            log_likelihood = self.target.log_likelihood(answer)
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), state)
        gradient, is_lost = _finite(gradient)
        of_states = log_likelihood.detach().reshape(len(state), -1).sum(dim=1)
        score = Score(gradient, of_states, image.detach(), is_lost)
        if not hasattr(self.target, "agreement"):
            return score
        with torch.no_grad():
            agreement = self.target.agreement(answer).reshape(len(state), -1).mean(dim=1)
            if self.shaping.when_met == PUSH_ON:
                return score._replace(agreement=agreement)
            missing = 1 - agreement
            if hasattr(self.target, "missing"):
                missing = self.target.missing(answer).reshape(len(state), -1).mean(dim=1)
        return score._replace(agreement=agreement, missing=missing)


def wording_of(target: Target, info: GuiderInfo) -> Wording | None:
    """How the agreement of a Score is told; None if the target cannot say. `info`: the guider's."""
    worded = getattr(target, "wording", None)
    return worded and worded(info.labels)


def _finite(gradient: Tensor) -> tuple[Tensor, bool]:
    """`gradient` with 0 for pictures where it is not finite; whether there were such."""
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if finite.all():
        return gradient, False
    return torch.where(per_sample(finite, gradient), gradient, 0.0), True
