"""The conditional estimate, which pre-CFG functions get first (ComfyUI 0.30.0, samplers.py).

It is what a guider reads while sampling, before classifier-free guidance and before other functions
change it (docs/decisions/0003-guiders-of-the-estimate.md).
"""

from collections.abc import Callable

from torch import Tensor

PRE_CFG = "sampler_pre_cfg_function"


def conditional_index(args: dict) -> int:
    """Where in `args["conds_out"]` it is. `args`: of a pre-CFG function."""
    return next(i for i, cond in enumerate(args["conds"]) if cond is not None)


def with_reader(model_options: dict | None, read: Callable[[Tensor, Tensor], None]) -> dict:
    """A copy of `model_options` in which `read` gets every evaluation's estimate and sigma (B,)."""

    def function(args: dict) -> list[Tensor]:
        read(args["conds_out"][conditional_index(args)], args["sigma"])
        return args["conds_out"]

    options = dict(model_options or {})  # the sampler's own dict stays as it is
    options[PRE_CFG] = [function, *options.get(PRE_CFG, [])]
    return options
