"""One guided evaluation of a model by a guider node (read in ComfyUI 0.30.0, samplers.py).

The shift goes into every entry of `conds_out` through a pre-CFG function that lives for this one
call: only there is it right for CFG++ samplers and any CFG. Guider nodes that skip pre-CFG
functions (DualCFG) get it on the result. The model's own post-CFG functions (PAG, SAG, skipped
layers) compare estimates and would multiply the shift: they get all estimates without it.

The estimate that an x0_hat guider reads is the conditional one (the first of `conds_out`): the mean
of x_0 given x_t and the prompt, whose Jacobian is symmetric for an ideal model. With CFG the
combined one is neither, and would double the cost of a second evaluation. Guider nodes that skip
pre-CFG functions give their result.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial

import comfy.samplers
from torch import Tensor, nn

from ..jacobian import Denoiser, StaleEstimate
from .apart import Apart, Witness
from .differentiable import differentiable, with_torch_attention
from .pre_cfg import PRE_CFG, conditional_index

ESTIMATES = {  # a post-CFG function's conditioning: the estimate made of it
    "cond": "cond_denoised",
    "uncond": "uncond_denoised",
    "empty_cond": "empty_cond_denoised",
}

log = logging.getLogger(__name__)


class GuidedEvaluation:
    """`executor`, `x`, `timestep`, `model_options`, `seed`: as a PREDICT_NOISE wrapper gets them.

    `shift_of`: an estimate, and a function that makes others, -> what is added to it. `apart` makes
    those others, and must be there if they are asked for; `needs_fresh`: they are compared with the
    estimate, so no cache may have had a part in it.
    """

    def __init__(
        self,
        executor,
        x: Tensor,
        timestep: Tensor,
        model_options: dict,
        seed: int | None,
        shift_of: Callable[[Tensor, Denoiser], Tensor],
        apart: Apart | None = None,
        needs_fresh: bool = False,
    ):
        self.executor, self.x, self.timestep, self.seed = executor, x, timestep, seed
        self.witness = Witness(executor, model_options)
        self.model_options = model_options
        self.shift_of, self.apart, self.needs_fresh = shift_of, apart, needs_fresh
        self.shift: Tensor | None = None

    @property
    def was_skipped(self) -> bool:
        """Whether a cache gave back an earlier estimate, with the shift that was added to it."""
        return self.shift is None and not self.witness.reached_model

    def predict_noise(self) -> Tensor:
        """The guided estimate, shaped like `x`."""
        options = self.witness.options
        before = options.get(PRE_CFG, [])
        options[PRE_CFG] = [self.find_shift, *before, self.add_shift]
        after = options.get("sampler_post_cfg_function", [])
        own = self.executor.class_obj.model_options.get("sampler_post_cfg_function", [])
        models, samplers = after[: len(own)], after[len(own) :]  # CFG++ samplers append theirs
        options["sampler_post_cfg_function"] = [*map(self.without_shift, models), *samplers]
        denoised = self.executor(self.x, self.timestep, options, self.seed)
        if self.shift is not None or self.was_skipped:
            return denoised
        if samplers:
            _warn_of_cfg_pp()
        return denoised + self._shift(denoised, self.model_options, self.denoise_whole).to(denoised)

    def find_shift(self, args: dict) -> list[Tensor]:
        """The first pre-CFG function: no other has changed the estimates yet."""
        if self.shift is None:
            index = conditional_index(args)
            estimate, options = args["conds_out"][index], args["model_options"]
            shift = self._shift(estimate, options, partial(denoise_one, args, index))
            self.shift = shift.to(estimate)
        return args["conds_out"]

    def _shift(
        self, estimate: Tensor, options: dict, evaluate: Callable[[Tensor, dict], Tensor]
    ) -> Tensor:
        """`evaluate`: another x, and options like `options`, -> what `estimate` is of this x."""

        def denoise(x: Tensor) -> Tensor:
            if not self.witness.is_fresh:
                raise StaleEstimate
            if not x.requires_grad:
                return self.apart.evaluate(self.executor, options, partial(evaluate, x))
            chosen = with_torch_attention(options)
            with differentiable(self._steady_network()):
                return self.apart.evaluate(self.executor, chosen, partial(evaluate, x))

        if self.needs_fresh and self.apart.may_be_stale():
            with suppress(StaleEstimate):
                estimate = denoise(self.x)
        return self.shift_of(estimate, denoise)

    def _steady_network(self) -> nn.Module | None:
        """The model; None if hooks (scheduled LoRA) change its weights from prompt to prompt."""
        sampled = self.executor.class_obj
        return None if sampled.model_patcher.hook_patches else sampled.inner_model

    def add_shift(self, args: dict) -> list[Tensor]:
        """The last pre-CFG function."""
        return [
            out if cond is None else out + self.shift
            for out, cond in zip(args["conds_out"], args["conds"], strict=True)
        ]

    def without_shift(self, function: Callable[[dict], Tensor]) -> Callable[[dict], Tensor]:
        """A post-CFG function of the model, which gets estimates as they were without guidance."""

        def call(args: dict) -> Tensor:
            if self.shift is None:
                return function(args)
            moved = ["denoised", *(v for k, v in ESTIMATES.items() if args.get(k) is not None)]
            return function(args | {name: args[name] - self.shift for name in moved}) + self.shift

        return call

    def denoise_whole(self, x: Tensor, options: dict) -> Tensor:
        """The unguided estimate of the whole guider node for another `x`."""
        return self.executor(x, self.timestep, options, self.seed)


def denoise_one(args: dict, index: int, x: Tensor, options: dict) -> Tensor:
    """What `conds_out[index]` of a pre-CFG function's `args` is, for another `x`."""
    conds = [cond if i == index else None for i, cond in enumerate(args["conds"])]
    if batch := options.get("sampler_calc_cond_batch_function"):
        call = {"conds": conds, "input": x, "sigma": args["sigma"]}
        return batch({**call, "model": args["model"], "model_options": options})[index]
    return comfy.samplers.calc_cond_batch(args["model"], conds, x, args["sigma"], options)[index]


@cache
def _warn_of_cfg_pp() -> None:
    log.warning(
        "PPAP guidance will be too strong: this guider node hides the estimates that this sampler "
        "reads (it is of the CFG++ kind); choose another sampler, or CFGGuider"
    )
