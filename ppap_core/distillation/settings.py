"""What can be set about a distillation, and the phases that follow from it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ..noise import PARTITIONS, NoiseRange
from ..reading import INPUTS
from .adapters import AdapterSettings

CHOICES = {
    "input": INPUTS,
    "partition": tuple(PARTITIONS),
    "initialisation": ("carry_over", "shared", "independent"),
    "budget": ("per_expert", "total"),
    "depth_loss": ("aligned", "mse"),
    "precision": ("fp32", "bf16", "fp16"),
}


@dataclass(frozen=True)
class DistillSettings:
    """How experts are taught.

    `batch_size`: images per optimiser step, over all processes; `accumulation` cuts it into that
    many pieces where memory asks for it. `steps`: per expert, or of all together (`budget`).
    `temperature`: of the teacher's softmax. `ema_decay`: 0 keeps the last weights, 0.99 an average
    over about the last 100 steps.
    """

    input: str = "x_t"
    view: str = "auto"
    num_experts: int = 5
    partition: str = "log_snr"
    initialisation: str = "carry_over"
    budget: str = "per_expert"
    steps: int = 800
    warm_up_steps: int = 50
    batch_size: int = 64
    accumulation: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    temperature: float = 1.0
    depth_loss: str = "aligned"
    ema_decay: float = 0.0
    precision: str = "fp32"
    channels_last: bool = False
    num_heldout: int = 256
    seed: int = 0
    adapter: AdapterSettings = field(default_factory=AdapterSettings)

    def __post_init__(self):
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        for name in ("num_experts", "steps", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation ({self.accumulation}) cuts a batch of {self.batch_size} images into "
                f"more pieces than it has"
            )
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} has to be above 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay lies in [0, 1), got {self.ema_decay}")

    def ranges(self) -> list[NoiseRange]:
        return PARTITIONS[self.partition](self.num_experts)

    def steps_per_expert(self) -> int:
        return self.steps if self.budget == "per_expert" else max(1, self.steps // self.num_experts)


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
