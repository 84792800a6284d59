"""What evidence recommends where a user leaves it open: the strength 1, the Jacobian, the spectrum.

Each task has figures of its own (tasks/), those of docs/evidence/strength.md (`python -m
evidence.strength`): the scale in the rule relative from which on more of it gains little, or costs
quality.
"""

from dataclasses import replace

from .jacobian import PASSES_MODEL
from .reading import AUTO
from .shaping import PUSH_ON, Shaping
from .strength import RECOMMENDED, Strength
from .tasks import Recommendation, Recommended

BURNING = 4.0  # times the recommended strength: beyond it pictures fall apart


def recommend(
    recommended: Recommended, input: str, jacobian: str, may_fade: bool = False
) -> Recommendation:
    """For a guider that reads `input`, with a settled `jacobian`.

    `may_fade`: it knows when the target is met; of classes and boxes only experts do.
    """
    if input == "x_t":
        return recommended.x_t
    if jacobian in PASSES_MODEL:
        return (may_fade and recommended.fading) or recommended.through_model
    if jacobian == "wiener":  # has filtered already
        return Recommendation(recommended.wiener or recommended.x0_hat.scale)
    return recommended.x0_hat


def settle_jacobian(recommended: Recommended, jacobian: str, has_experts: bool) -> str:
    """Experts on the estimate do without a pass of the model for maps and words, not for classes,
    boxes and poses; most guiders alone need one.
    """
    if jacobian != AUTO:
        return jacobian
    return recommended.experts_jacobian if has_experts else recommended.jacobian


def settle(
    recommended: Recommended,
    input: str,
    jacobian: str,
    strength: Strength,
    shaping: Shaping,
    may_fade: bool,
) -> tuple[Strength, Shaping]:
    """`strength` and `shaping` with nothing left open."""
    here = recommend(recommended, input, jacobian, may_fade and shaping.when_met != PUSH_ON)
    left_open = Recommendation(here.scale) if strength.rule == "raw" else here
    for name in ("spectrum", "when_met"):
        if getattr(shaping, name) == AUTO:
            shaping = replace(shaping, **{name: getattr(left_open, name)})
    if strength.rule == RECOMMENDED:
        scale = strength.guidance_scale * here.scale
        strength = replace(strength, guidance_scale=scale, rule="relative")
    return strength, shaping
