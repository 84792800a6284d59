"""Where a training stands, in a person's words, and how long it will still take."""

import time
from collections.abc import Callable, Mapping

from .distill import Progress
from .phases import Phase, plan_phases
from .settings import DistillSettings

# The parts of a training, as people read them, in their order.
SAMPLING, READING, LEARNING, PREVIEW = (
    "sampling pictures",
    "reading the guider's answers",
    "learning",
    "sampling the preview",
)


def name_of(phase: Phase, num_experts: int) -> str:
    """For example "expert 2 of 5, noise [0.166, 0.549)"."""
    shared = phase.expert is None
    who = "what experts share" if shared else f"expert {phase.expert + 1} of {num_experts}"
    return f"{who}, noise {phase.noise_range}"


def in_words(progress: Progress, num_experts: int) -> str:
    """One line about a step of learning."""
    phase = progress.phase
    return (
        f"{name_of(phase, num_experts)}: step {progress.step} of {phase.steps}, loss "
        f"{progress.loss:.3f}, {progress.images_per_second:.0f} images per second"
    )


def steps_left(progress: Progress, settings: DistillSettings) -> int:
    """Of all phases, after this step."""
    phases = plan_phases(settings)
    later = phases[phases.index(progress.phase) + 1 :]
    return progress.phase.steps - progress.step + sum(phase.steps for phase in later)


def duration(seconds: float) -> str:
    """For example "40 s", "12 min", "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class TimeLeft:
    """Of a whole training. `left`: how many of each part are to do, in the parts' order. `seconds`:
    what one of each takes, as measured beforehand; the pace of the part under way replaces it.
    """

    def __init__(
        self,
        left: Mapping[str, int],
        seconds: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._left, self._seconds, self._clock = dict(left), dict(seconds), clock
        self._part, self._began, self._first = "", 0.0, 0

    def reached(self, part: str, left: int) -> None:
        """Of `part`, which is under way, `left` are still to do. The parts before it are done."""
        if part != self._part:
            names = list(self._left)
            self._left = {name: self._left[name] for name in names[names.index(part) :]}
            self._part, self._began, self._first = part, self._clock(), left
        elif left < self._first:
            self._seconds[part] = (self._clock() - self._began) / (self._first - left)
        self._left[part] = left

    def seconds(self) -> float:
        return sum(num * self._seconds[part] for part, num in self._left.items())
