"""What evidence recommends where a user leaves it open: the strength 1, the Jacobian, the spectrum.

The figures are those of docs/evidence/strength.md (`python -m evidence.strength`): the scale in the
rule relative from which on more of it gains little, or costs quality.
"""

from dataclasses import replace
from typing import NamedTuple

from .reading import AUTO
from .shaping import Shaping
from .strength import RECOMMENDED, Strength


class Recommendation(NamedTuple):
    """`scale`: what strength 1 stands for in the rule relative. `spectrum`: of the shift."""

    scale: float
    spectrum: str = "plain"


CLASSES = {  # by what the guider reads, and whether its gradient passes through the model
    ("x_t", False): Recommendation(0.2),
    ("x0_hat", False): Recommendation(0.3, "half-white"),
    ("x0_hat", True): Recommendation(0.2, "half-white"),
}
MAPS = {
    ("x_t", False): Recommendation(0.3),
    ("x0_hat", False): Recommendation(1.0, "wiener"),
    ("x0_hat", True): Recommendation(0.5),
}
BURNING = 4.0  # times the recommended strength: beyond it pictures fall apart


def recommend(task: str, input: str, jacobian: str) -> Recommendation:
    """For a guider of `task` that reads `input`, with a settled `jacobian`."""
    passes_through = input == "x0_hat" and jacobian in ("jvp", "backprop")
    return (CLASSES if task == "class" else MAPS)[input, passes_through]


def settle_jacobian(jacobian: str, has_experts: bool) -> str:
    """Experts on the estimate do without a Jacobian; a guider alone needs one."""
    if jacobian != AUTO:
        return jacobian
    return "none" if has_experts else "jvp"


def settle(
    task: str, input: str, jacobian: str, strength: Strength, shaping: Shaping
) -> tuple[Strength, Shaping]:
    """`strength` and `shaping` with nothing left open."""
    recommended = recommend(task, input, jacobian)
    if shaping.spectrum == AUTO:
        spectrum = "plain" if strength.rule == "raw" else recommended.spectrum
        shaping = replace(shaping, spectrum=spectrum)
    if strength.rule == RECOMMENDED:
        scale = strength.guidance_scale * recommended.scale
        strength = replace(strength, guidance_scale=scale, rule="relative")
    return strength, shaping
