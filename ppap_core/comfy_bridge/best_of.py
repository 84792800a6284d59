"""Particles on one MODEL, as wrappers on it, under any sampler (ComfyUI 0.30.0, samplers.py).

OUTER_SAMPLE encloses one sampling: each picture is started several times there, and the best one of
each comes out. SAMPLER_SAMPLE encloses the sampler's loop: it is run piece by piece, as two
KSampler (Advanced) nodes would, and between the pieces particles are selected.
"""

from collections.abc import Callable

import comfy.sample
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..guidance import Guidance
from ..noise import per_sample
from ..particles import Particles, with_fresh_noise
from .live import show_on_node
from .noise_levels import noise_coefficients, norm_of_states, sigma_to_sigma_ve
from .pre_cfg import with_reader
from .streams import Streams

KEY = "ppap_best_of"


def install_best_of(model, particles: Particles, guidance: Guidance, *patchers):
    """A clone of `model` (MODEL) whose pictures are the best of several by `guidance`'s target.

    `patchers` are the guider's and its view's. Replaces an earlier one on `model`.
    """
    chosen, best_of = model.clone(), BestOf(particles, guidance)
    wrappers = {
        WrappersMP.OUTER_SAMPLE: best_of.sample,
        WrappersMP.SAMPLER_SAMPLE: best_of.sample_in_pieces,
    }
    for kind, wrapper in wrappers.items():
        chosen.remove_wrappers_with_key(kind, KEY)
        chosen.add_wrapper_with_key(kind, KEY, wrapper)
    chosen.set_additional_models(KEY, list(patchers))
    return chosen


class BestOf:
    """One sampling with K particles for each of G pictures; row k G + g is particle k of g."""

    def __init__(self, particles: Particles, guidance: Guidance):
        self.particles, self.guidance = particles, guidance
        self._streams, self._replaced, self._agreements = Streams(), 0, torch.empty(0)

    def sample(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        mask=None,
        callback=None,
        disable_pbar=False,
        seed=None,
        latent_shapes=None,
    ):
        """The OUTER_SAMPLE wrapper."""
        num, self._replaced = self.particles.num, 0
        if latent_shapes:
            latent_shapes = [(num * shape[0], *shape[1:]) for shape in latent_shapes]
        told = {} if latent_shapes is None else {"latent_shapes": latent_shapes}
        self._streams = Streams(latent_shapes)
        last = LastCall(callback, len(noise))
        samples = executor(
            self._start(noise, latent_image, seed or 0),
            _repeat(latent_image, num),
            sampler,
            sigmas,
            mask if mask is None or len(mask) == 1 else _repeat(mask, num),
            last,
            disable_pbar,
            seed,
            **told,
        )
        best = self._best.to(samples.device)
        last.finish(best)
        show_on_node([self.told()], lasting=True)
        return samples[best]

    def _start(self, noise: Tensor, latent_image: Tensor, seed: int) -> Tensor:
        """The noise that is given, and that of the next seeds; no noise stays none."""
        num = self.particles.num
        if not torch.count_nonzero(noise):
            return _repeat(noise, num)
        more = [comfy.sample.prepare_noise(latent_image, seed + k).to(noise) for k in range(1, num)]
        return torch.cat([noise, *more])

    def sample_in_pieces(
        self,
        executor,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        mask=None,
        disable_pbar=False,
    ):
        """The SAMPLER_SAMPLE wrapper. Under a noise mask nothing is selected before the end."""
        model_sampling = model_wrap.inner_model.model_sampling
        generator = torch.Generator().manual_seed(extra_args.get("seed") or 0)
        steps = len(sigmas) - 1
        whole = mask is not None or not self.particles.strictness
        length = steps if whole else self.particles.every
        for start in range(0, steps, length):
            end = min(start + length, steps)
            piece = Piece(callback, start, steps)
            # Another seed for each piece, or an ancestral sampler would add the same noise again.
            options = extra_args | {"seed": (extra_args.get("seed") or 0) + start}
            place = model_wrap, sigmas[start : end + 1], piece.watched(options), piece, noise
            latent_image = executor(*place, latent_image, mask, disable_pbar)
            if end < steps and piece.estimate is not None:
                at = model_sampling, sigmas[end].reshape(1)
                latent_image = self._select(*at, latent_image, piece, generator)
            noise = torch.zeros_like(noise)
        self._choose(model_sampling, sigmas[-1].reshape(1), latent_image)
        return latent_image

    def _select(
        self,
        model_sampling,
        sigma: Tensor,
        held: Tensor,
        piece: "Piece",
        generator: torch.Generator,
    ) -> Tensor:
        """What goes on of `held` (K G, ...): states at `sigma`, as samplers return them."""
        x = model_sampling.noise_scaling(sigma, torch.zeros_like(held), held)
        estimate = piece.estimate
        read = (x, sigma) if self.guidance.input == "x_t" else piece.unguided or (estimate, sigma)
        scores, _ = self._judge(model_sampling, *read)
        sources = self.particles.select(scores, generator)
        num, pictures = sources.shape
        goes_on = (sources == torch.arange(num)[:, None]).flatten()
        rows = (sources * pictures + torch.arange(pictures)).flatten()
        x, estimate, copies = x[rows], estimate[rows].to(x), ~goes_on
        self._replaced += int(copies.sum())
        if copies.any():
            alpha, b = noise_coefficients(model_sampling, sigma.expand(int(copies.sum())))
            x[copies] = with_fresh_noise(x[copies], estimate[copies], alpha, b, generator)
        return model_sampling.inverse_noise_scaling(sigma, x)

    def _choose(self, model_sampling, sigma: Tensor, samples: Tensor) -> None:
        """Notes the best particle of each picture."""
        scores, self._agreements = self._judge(model_sampling, samples, sigma)
        known = scores.where(scores.isfinite(), -torch.inf)
        self._chosen = known.argmax(dim=0)
        self._best = self._chosen * scores.shape[1] + torch.arange(scores.shape[1])

    def _judge(self, model_sampling, state: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods of the target, and how far it is met: (K, G) each, on the CPU.

        `state`: what the guider reads, states at `sigma` or the estimates that were made there.
        """
        guidance, num = self.guidance, self.particles.num
        device = next(guidance.guider.parameters()).device
        sigma = sigma.to(device).float()
        state = self._streams.first(state).to(device).float()
        if guidance.input == "x_t":
            state = state / per_sample(norm_of_states(model_sampling, sigma), state)
        level = float(sigma_to_sigma_ve(model_sampling, sigma))
        scores, agreements = [], []
        for rows in state.chunk(num):  # a target may have a row for each picture
            answer = guidance.answer(rows, level)
            for found, measure in ((scores, "log_likelihood"), (agreements, "agreement")):
                values = getattr(guidance.target, measure)(answer)
                found.append(values.reshape(len(rows), -1).mean(dim=1).cpu())
        guidance.guider.switch.restore()
        return torch.stack(scores), torch.stack(agreements)

    def told(self) -> str:
        """What the last sampling came to, for the node that sampled."""
        target, num = self.guidance.target, self.particles.num
        wording = target.wording(self.guidance.guider.info.labels)
        best = self._agreements.gather(0, self._chosen[None])
        result = wording.tell_live(float(self._agreements.mean()), float(best.mean()))
        return f"best of {num}: {result}, from all to the best; {self._replaced} were replaced"


class LastCall:
    """A sampler's `callback` that shows the first `num` pictures; the last call waits for `finish`.

    Nodes put out the estimate of the last call, so that one has to be of the best particles.
    """

    def __init__(self, callback: Callable | None, num: int):
        self.callback, self.num, self._last = callback, num, None

    def __call__(self, step: int, x_0: Tensor, x: Tensor, total: int) -> None:
        if self.callback is None:
            return
        if step == total - 1:
            self._last = step, x_0, x, total
        else:
            self.callback(step, x_0[: self.num], x[: self.num], total)

    def finish(self, best: Tensor) -> None:
        if self._last:
            step, x_0, x, total = self._last
            self.callback(step, x_0[best.to(x_0.device)], x[best.to(x.device)], total)


class Piece:
    """Some steps of a sampling: their callback, which notes the last `estimate`.

    `unguided`: what a guider reads while sampling, and its sigma (1,): the conditional estimate
    before other guidance moved it. A guider that reads what it moved itself finds all is well. None
    where a guider node hides it.
    """

    def __init__(self, callback: Callable, start: int, steps: int):
        self.callback, self.start, self.steps = callback, start, steps
        self.estimate: Tensor | None = None
        self.unguided: tuple[Tensor, Tensor] | None = None

    def watched(self, extra_args: dict) -> dict:
        """A sampler's `extra_args`, with which `unguided` is noted."""
        options = with_reader(extra_args.get("model_options"), self._note)
        return extra_args | {"model_options": options}

    def _note(self, estimate: Tensor, sigma: Tensor) -> None:
        self.unguided = estimate.clone(), sigma[:1]

    def __call__(self, step: int, x_0: Tensor, x: Tensor, _: int) -> object:
        self.estimate = x_0
        return self.callback(self.start + step, x_0, x, self.steps)


def _repeat(rows: Tensor, num: int) -> Tensor:
    return rows.repeat(num, *[1] * (rows.ndim - 1))
