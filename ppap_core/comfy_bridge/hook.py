"""All that guides one MODEL, as wrappers on it (read in ComfyUI 0.30.0, samplers.py, CFGGuider).

OUTER_SAMPLE encloses one sampling, PREPARE_SAMPLING the loading of its models, PREDICT_NOISE each
evaluation of the model by any guider node.
"""

import logging
import time

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..guidance import Guidance
from ..guidance_report import in_short, lost_steps, progress, stale_steps, summary
from ..guidance_run import GuidanceRun, Outcome, Sampling
from ..jacobian import PASSES_MODEL, Denoiser
from ..maps import check_rows
from ..targets import Target
from .apart import KEY, Apart
from .backprop_room import backprop_bytes
from .cancel import ask_for_cancel, cancellable
from .differentiable import attention_has_backward_pass
from .guided_evaluation import GuidedEvaluation
from .live import show_on_node
from .memory import decode_plan, guidance_bytes, with_room
from .noise_levels import is_in_interval
from .outcomes import LastEstimate, Outcomes, as_the_host_stores, joined
from .shift import total_shift
from .streams import Streams

log = logging.getLogger(__name__)
_KEPT = Outcomes()


def install_guidance(model, guidance: Guidance, *patchers):
    """A clone of `model` (MODEL) that is guided; `patchers` are the guider's and its view's.

    Guidance that is on the model already stays. Strength 0, or an interval without room, returns
    `model` itself, untouched.
    """
    if guidance.strength.is_off:
        return model
    guided = model.clone()
    together = ModelGuidance((*guidances_of(model), guidance))
    wrappers = {
        WrappersMP.PREDICT_NOISE: together.predict_noise,
        WrappersMP.OUTER_SAMPLE: together.sample,
        WrappersMP.PREPARE_SAMPLING: together.prepare,
    }
    for kind, wrapper in wrappers.items():
        guided.remove_wrappers_with_key(kind, KEY)
        guided.add_wrapper_with_key(kind, KEY, wrapper)
    loaded = guided.get_additional_models_with_key(KEY)
    new = [p for p in patchers if not any(p.is_clone(other) for other in loaded)]
    guided.set_additional_models(KEY, [*loaded, *new])
    return guided


def guidances_of(model) -> tuple[Guidance, ...]:
    """What guides `model` (MODEL), in the order of the nodes."""
    installed = _installed(model)
    return installed.guidances if installed else ()


def outcomes_of(model) -> tuple[Outcome, ...]:
    """What each guidance of `model` (MODEL) did in the last sampling; no records before one."""
    installed = _installed(model)
    return installed.outcomes if installed else ()


def outcomes_for(model, latent: dict) -> tuple[Outcome, ...]:
    """What the guidance of `model` (MODEL) did in the sampling that made `latent` (LATENT).

    Nothing if no guidance is on the model, or if no guided sampling is known that made the latent.
    """
    guidances, samples = guidances_of(model), latent.get("samples")
    return _KEPT.of(samples, guidances) if guidances and samples is not None else ()


def _installed(model) -> "ModelGuidance | None":
    wrappers = model.get_wrappers(WrappersMP.PREDICT_NOISE, KEY)
    return wrappers[0].__self__ if wrappers else None


class ModelGuidance:
    """All that guides one MODEL: every guidance sees the estimate that no other has moved.

    `outcomes`: of the last sampling.
    """

    def __init__(self, guidances: tuple[Guidance, ...]):
        self.guidances = guidances
        self.outcomes = tuple(GuidanceRun(guidance).outcome() for guidance in guidances)
        self._runs: tuple[GuidanceRun, ...] = ()
        self._apart: Apart | None = None
        self._streams = Streams()
        self._evaluations, self._began = 0, 0.0

    def sample(
        self,
        executor,
        noise,
        latent_image,
        sampler,
        sigmas,
        mask=None,
        callback=None,
        *args,
        **kwargs,
    ):
        """The OUTER_SAMPLE wrapper: one sampling."""
        self._runs, self._apart, self._evaluations = (), None, 0
        self._streams = Streams(kwargs.get("latent_shapes"))
        # A sampling without noise of its own resumes one: the second half of SplitSigmas, say.
        earlier = () if torch.count_nonzero(noise) else _KEPT.of(latent_image)
        last = callback and LastEstimate(callback)
        try:
            samples = executor(noise, latent_image, sampler, sigmas, mask, last, *args, **kwargs)
        finally:
            self._end(len(sigmas) - 1)
        made = [samples, as_the_host_stores(samples)]
        if last:
            made += last.as_latent(executor.class_obj.model_patcher.model)
        _KEPT.keep(made, joined(earlier, self.outcomes))
        for outcome in self.outcomes:
            log.log(logging.INFO if outcome.records else logging.WARNING, summary(outcome))
        show_on_node(in_short(outcome) for outcome in self.outcomes)
        return samples

    def _end(self, steps: int) -> None:
        for guidance in self.guidances:
            guidance.guider.switch.restore()
        seconds = time.perf_counter() - self._began if self._evaluations else 0.0
        sampling = Sampling(steps, self._evaluations, seconds)
        self.outcomes = tuple(run.outcome(sampling) for run in self._runs)
        for outcome in self.outcomes:
            for told in filter(None, (lost_steps(outcome), stale_steps(outcome))):
                log.warning("PPAP guidance: %s", told)
        self._runs, self._apart = (), None

    def prepare(self, executor, model, noise_shape, conds, **options):
        """The PREPARE_SAMPLING wrapper: models are loaded so that guidance has room beside them."""
        check_latent(shape := self._streams.shape_of_first(noise_shape))
        for guidance in self.guidances:
            check_batch(guidance.target, shape)
        self._warn_of_attention(model)
        self._begin(noise_shape)
        num_bytes = sum(run.num_bytes for run in self._runs)
        if any(_uses(guidance, "backprop") for guidance in self.guidances):
            num_bytes += backprop_bytes(model, shape, conds)
        return executor(model, with_room(model, noise_shape, num_bytes), conds, **options)

    def _begin(self, shape: torch.Size) -> None:
        shape = self._streams.shape_of_first(shape)
        plans = [decode_plan(g, shape) for g in self.guidances]
        for reason in dict.fromkeys(plan.reason for plan in plans if plan and plan.reason):
            log.info("PPAP guidance: %s", reason)
        self._runs = tuple(
            GuidanceRun(g, guidance_bytes(g, shape), plan.reason if plan else "")
            for g, plan in zip(self.guidances, plans, strict=True)
        )

    def _warn_of_attention(self, model) -> None:
        differentiated = any(_uses(guidance, "backprop") for guidance in self.guidances)
        if differentiated and not attention_has_backward_pass(model):
            log.warning(
                "PPAP's jacobian backprop replaces this ComfyUI's attention, which has no backward "
                "pass, by PyTorch's; if your model ignores that, use jvp"
            )

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        """The PREDICT_NOISE wrapper: one evaluation of the model."""
        ask_for_cancel()
        model_sampling = executor.class_obj.inner_model.model_sampling
        if not self._evaluations:  # models are loaded by now
            self._began = time.perf_counter()
        self._evaluations += 1
        if not self._runs:  # someone samples without ComfyUI's preparation
            self._begin(x.shape)
        self._look_around(executor, model_options)
        runs = [run for run in self._runs if _is_active(run, model_sampling, float(timestep[0]))]
        runs = [run for run in runs if run.takes_turn()]
        if not runs:
            return executor(x, timestep, model_options, seed)

        def shift_of(denoised: Tensor, denoise: Denoiser) -> Tensor:
            place = model_sampling, x, timestep, denoised, denoise, self._streams
            with cancellable(*_networks(executor, runs)):
                shift = total_shift(runs, *place)
            show_on_node(progress(run) for run in runs)
            return shift

        evaluation = GuidedEvaluation(
            executor,
            x,
            timestep,
            model_options or {},
            seed,
            shift_of,
            apart=self._apart,
            needs_fresh=any(_uses(run.guidance, "jvp") for run in runs),
        )
        denoised = evaluation.predict_noise()
        for run in runs if evaluation.was_skipped else ():
            run.stale_steps += 1
        return denoised

    def _look_around(self, executor, model_options: dict | None) -> None:
        """Before each evaluation, if some guidance makes evaluations of its own."""
        if self._apart is None and any(_uses(g, *PASSES_MODEL) for g in self.guidances):
            self._apart = Apart(executor, model_options or {})
        if self._apart:
            self._apart.begin()


def _networks(executor, runs: list[GuidanceRun]) -> list[nn.Module | None]:
    """Those that guidance passes through: guiders, decoders, and the model where it is asked again.

    `executor`: as a PREDICT_NOISE wrapper gets it.
    """
    sampled = executor.class_obj
    patchers = sampled.model_patcher.get_additional_models_with_key(KEY)
    again = any(_uses(run.guidance, *PASSES_MODEL) for run in runs)
    model = getattr(sampled.inner_model, "diffusion_model", None) if again else None
    return [*(run.guidance.guider for run in runs), *(p.model for p in patchers), model]


def check_latent(shape: torch.Size) -> None:
    """ValueError unless states of this `shape` are pictures or videos."""
    if len(shape) not in (4, 5):
        raise ValueError(
            f"PPAP guidance reads images (B, C, H, W) and videos (B, C, T, H, W); this model's "
            f"latent is {tuple(shape)} (packed or audio), which is not supported"
        )


def check_batch(target: Target, shape: torch.Size) -> None:
    """ValueError if `target` says that it has rows for other pictures than states of `shape`."""
    if len(shape) == 4:  # how many pictures a video becomes is up to the view
        check_rows(getattr(target, "num_rows", 1), shape[0], "target")


def _uses(guidance: Guidance, *jacobians: str) -> bool:
    return guidance.input == "x0_hat" and guidance.jacobian in jacobians


def _is_active(run: GuidanceRun, model_sampling, sigma: float) -> bool:
    strength = run.guidance.strength
    return is_in_interval(model_sampling, sigma, strength.start_percent, strength.end_percent)
