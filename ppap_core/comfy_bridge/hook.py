"""Guidance on a ComfyUI MODEL.

Read in ComfyUI 0.30.0. A PREDICT_NOISE wrapper runs once per model evaluation, for every guider
node (samplers.py, CFGGuider). The shift goes into every entry of `conds_out` through a pre-CFG
function that lives for this one call: only there is it right for CFG++ samplers and any CFG. Guider
nodes that skip pre-CFG functions (DualCFG) get it on the result. The model's own post-CFG functions
(PAG, SAG, skipped layers) compare estimates, and would take the shift for a difference: they get
all of them without it.

The estimate that an x0_hat guider sees is the conditional one (the first of `conds_out`): the mean
of x_0 given x_t and the prompt, whose Jacobian is symmetric for an ideal model. With CFG the
combined one is neither, and would double the cost of a second evaluation. Guider nodes that skip
pre-CFG functions give their result.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..guidance import Guidance
from ..noise import SIGMA_VE_MAX, per_sample
from ..strength import without_conflict
from .differentiable import differentiable, with_torch_attention
from .live import show_on_node
from .memory import guidance_bytes, with_room

KEY = "ppap"


def noise_coefficients(model_sampling, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of x = alpha x_0 + sigma eps as samplers hold it, for `sigma` (B,).

    Flow models: 1 - sigma and sigma times their noise scale. All others: 1 and sigma.
    """
    refused = tuple(
        kind
        for name in ("IMG_TO_IMG", "IMG_TO_IMG_FLOW")
        if (kind := getattr(comfy.model_sampling, name, None))
    )
    if isinstance(model_sampling, refused):
        raise ValueError("PPAP guidance needs a noise level; image-to-image models have none")
    if isinstance(model_sampling, comfy.model_sampling.CONST):
        return 1 - sigma, sigma * float(getattr(model_sampling, "noise_scale", 1.0))
    return torch.ones_like(sigma), sigma


def guided_shift(
    guidance: Guidance,
    model_sampling,
    x: Tensor,
    sigma: Tensor,
    denoised: Tensor | None = None,
    denoise: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """What guidance adds to `denoised`; `x` and `sigma` as a sampler calls the model.

    `denoise`: another x of the sampler -> the estimate that `denoised` is of this one.
    """
    inference = torch.is_inference_mode_enabled()
    with torch.inference_mode(False), torch.no_grad():
        device = next(guidance.guider.parameters()).device
        sigma = sigma.clone().to(device).float()
        alpha, b = noise_coefficients(model_sampling, sigma)
        sigma_ve = (b / alpha.clamp(min=1e-8)).clamp(1e-8, SIGMA_VE_MAX)
        c = per_sample((alpha.square() + b.square()).sqrt(), x)

        def denoise_vp(x_vp):
            like_x = (x_vp * c).to(x)
            with differentiable() if x_vp.requires_grad else torch.inference_mode(inference):
                return denoise(like_x).to(x_vp)

        x_vp = x.clone().to(device).float() / c
        estimate = None if denoised is None else denoised.clone().to(x_vp)
        return guidance(x_vp, sigma_ve, estimate, denoise_vp).shift


def check_latent(shape: Sequence[int]) -> None:
    """ValueError unless states of this `shape` are pictures or videos."""
    if len(shape) not in (4, 5):
        raise ValueError(
            f"PPAP guidance reads images (B, C, H, W) and videos (B, C, T, H, W); this model's "
            f"latent is {tuple(shape)} (packed or audio), which is not supported"
        )


def is_active(guidance: Guidance, model_sampling, sigma: float) -> bool:
    """Whether `sigma` lies in guidance's share of the host's schedule: (end, start]."""
    start, end = (
        float(model_sampling.percent_to_sigma(share))
        for share in (guidance.strength.start_percent, guidance.strength.end_percent)
    )
    return end < sigma <= start


def install_guidance(model, guidance: Guidance, *patchers):
    """A clone of `model` (MODEL) that is guided; `patchers` are the guider's and its view's.

    Strength 0, or an interval without room, returns `model` itself, untouched.
    """
    if guidance.strength.is_off:
        return model
    guided = model.clone()
    together = Guidances((*guidances_of(model), guidance))
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
    wrappers = model.get_wrappers(WrappersMP.PREDICT_NOISE, KEY)
    return wrappers[0].__self__.guidances if wrappers else ()


class Guidances:
    """All that guides one MODEL: every guidance sees the estimate that no other has moved."""

    def __init__(self, guidances: tuple[Guidance, ...]):
        self.guidances = guidances

    def prepare(self, executor, model, noise_shape, conds, **options):
        """The PREPARE_SAMPLING wrapper: models are loaded so that guidance has room beside them."""
        check_latent(noise_shape)
        if comfy.model_management.sage_attention_enabled() and any(
            (g.input, g.jacobian) == ("x0_hat", "backprop") for g in self.guidances
        ):
            logging.warning(
                "PPAP: the jacobian backprop puts torch's attention for SageAttention, that has no "
                "backward pass; a model that keeps to the latter is guided wrongly: jvp is safe"
            )
        for guidance in self.guidances:
            guidance.num_bytes = guidance_bytes(guidance, noise_shape)
        num_bytes = sum(guidance.num_bytes for guidance in self.guidances)
        return executor(model, with_room(model, noise_shape, num_bytes), conds, **options)

    def sample(self, executor, *args, **kwargs):
        """The OUTER_SAMPLE wrapper: one run."""
        for guidance in self.guidances:
            guidance.start()
        try:
            samples = executor(*args, **kwargs)
        finally:
            for guidance in self.guidances:
                guidance.finish()
        for guidance in self.guidances:
            guidance.report()
        show_on_node(g.summary() for g in self.guidances if not g.records)
        return samples

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        """The PREDICT_NOISE wrapper: one evaluation of the model."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        model_sampling = executor.class_obj.inner_model.model_sampling
        sigma = float(timestep[0])
        active = [g for g in self.guidances if is_active(g, model_sampling, sigma)]
        active = [g for g in active if g.takes_turn()]
        if not active:
            return executor(x, timestep, model_options, seed)

        def shift(denoised, denoise):
            total = None
            for guidance in active:
                own = guided_shift(guidance, model_sampling, x, timestep, denoised, denoise)
                if guidance.shaping.gives_way and total is not None:
                    own = without_conflict(own, total.to(own))
                total = own if total is None else total.to(own) + own
            show_on_node(guidance.latest() for guidance in active)
            return total

        return _predict_shifted(executor, x, timestep, model_options or {}, seed, shift)


ESTIMATES = {  # a post-CFG function's conditioning: the estimate made of it
    "cond": "cond_denoised",
    "uncond": "uncond_denoised",
    "empty_cond": "empty_cond_denoised",
}


def _predict_shifted(executor, x, timestep, model_options, seed, shift):
    shifts = []

    def find(args):
        """Comes first: other functions, and other guidance, have not changed the estimate yet."""
        if not shifts:
            index = next(i for i, cond in enumerate(args["conds"]) if cond is not None)
            estimate = args["conds_out"][index]
            shifts.append(shift(estimate, lambda x: _denoise(args, index, x)).to(estimate))
        return args["conds_out"]

    def add(args):
        return [
            out if cond is None else out + shifts[0]
            for out, cond in zip(args["conds_out"], args["conds"], strict=True)
        ]

    def unshifted(function):
        def call(args):
            if not shifts:
                return function(args)
            moved = ["denoised", *(v for k, v in ESTIMATES.items() if args.get(k) is not None)]
            return function(args | {name: args[name] - shifts[0] for name in moved}) + shifts[0]

        return call

    options = dict(model_options)  # the sampler's own dict stays as it is
    before = options.get("sampler_pre_cfg_function", [])
    options["sampler_pre_cfg_function"] = [find, *before, add]
    after = options.get("sampler_post_cfg_function", [])
    num_own = len(executor.class_obj.model_options.get("sampler_post_cfg_function", []))
    samplers = after[num_own:]  # CFG++ samplers append theirs, and want the shift
    options["sampler_post_cfg_function"] = [*map(unshifted, after[:num_own]), *samplers]
    denoised = executor(x, timestep, options, seed)
    if shifts:
        return denoised
    if samplers:
        _warn_of_cfg_pp()

    def denoise(x):
        return executor(x, timestep, _options_for(x, model_options), seed)

    return denoised + shift(denoised, denoise).to(denoised)


@cache
def _warn_of_cfg_pp() -> None:
    logging.warning(
        "PPAP: this guider node hides the estimates that CFG++ samplers read, with which guidance "
        "is too strong then: choose a sampler without cfg_pp"
    )


def _denoise(args: dict, index: int, x: Tensor) -> Tensor:
    """What `conds_out[index]` of a pre-CFG function's `args` is, for another `x`."""
    options = _options_for(x, args["model_options"])
    conds = args["conds"][index : index + 1]
    if batch := options.get("sampler_calc_cond_batch_function"):
        call = {"conds": conds, "input": x, "sigma": args["sigma"]}
        return batch({**call, "model": args["model"], "model_options": options})[0]
    return comfy.samplers.calc_cond_batch(args["model"], conds, x, args["sigma"], options)[0]


def _options_for(x: Tensor, model_options: dict) -> dict:
    return with_torch_attention(model_options) if x.requires_grad else model_options
