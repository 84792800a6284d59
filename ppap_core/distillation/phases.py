"""The phases of a distillation: which range is trained when, and from where it starts."""

from typing import NamedTuple

from ..noise import NoiseRange
from .settings import DistillSettings


class Phase(NamedTuple):
    """One stretch of training. `starts_from`: "guider", "previous" phase, or the "shared" one.

    `expert`: index of the expert that comes out of it; None for the shared phase.
    """

    noise_range: NoiseRange
    starts_from: str
    steps: int
    expert: int | None


def plan_phases(settings: DistillSettings) -> list[Phase]:
    """From low noise to high; all initialisations of one budget take as many steps.

    carry_over: each expert starts from its neighbour, as the official code does. shared: half of
    the steps go to one adapter for all noise, from which every expert branches.
    """
    ranges, steps = settings.ranges(), settings.steps_per_expert()
    if settings.initialisation == "shared":
        whole = NoiseRange(ranges[0].low, ranges[-1].high)
        branch = max(1, steps // 2)
        shared = Phase(whole, "guider", max(1, (steps - branch) * len(ranges)), None)
        return [shared, *(Phase(r, "shared", branch, i) for i, r in enumerate(ranges))]
    later = "previous" if settings.initialisation == "carry_over" else "guider"
    return [Phase(r, later if i else "guider", steps, i) for i, r in enumerate(ranges)]
