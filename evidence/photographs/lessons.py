"""The rows of the table: how experts are taught, and how well they agree with the clean teacher."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from evidence.photographs.latents import FULL, LINEAR
from ppap_core.atomic import save_safetensors
from ppap_core.distillation.batch import Reader
from ppap_core.distillation.distill import distill
from ppap_core.distillation.losses import compare, downscale
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.distillation.state import resume
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import Guider
from ppap_core.noise import NoiseRange, partition_by_timestep, sample_sigma_ve
from ppap_core.tasks import comparisons

DECILES = partition_by_timestep(10)
BATCH = 32
ALONE, ONE = "guider alone", "one adapter for all noise"


@dataclass(frozen=True)
class Lesson:
    """`num_experts`: 0 is the guider alone. `steps`: of all experts together.

    `view`: of VIEWS, through which the guider reads noisy latents; "" are noisy pixels.
    """

    name: str
    num_experts: int = 0
    steps: int = 0
    is_full: bool = False
    view: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {self.view}" if self.view else self.name

    def settings(self) -> DistillSettings:
        """The trainer's defaults, but for the paper's input, ranges and fixed total budget."""
        each = max(1, self.steps // self.num_experts)
        return DistillSettings(
            input="x_t",
            view="identity",
            num_experts=self.num_experts,
            partition="timestep",
            budget="total",
            steps=self.steps,
            warm_up_steps=min(50, each // 5),
            batch_size=BATCH,
            learning_rate=FULL_RATE if self.is_full else RATE,
            channels_last=True,
            adapter=AdapterSettings(full=self.is_full),
        )


RATE, FULL_RATE = 2e-3, 5e-4  # the trainer's default; that of all weights is lower


def lessons(steps: int) -> tuple[Lesson, ...]:
    """The rows in the order in which they are worth their time."""
    return (
        Lesson(ALONE),
        *(Lesson(ALONE, view=view) for view in (FULL, LINEAR)),
        Lesson(ONE, 1, steps),
        Lesson("five experts", 5, steps),
        Lesson("full fine-tuning", 1, steps, is_full=True),
        Lesson("ten experts", 10, steps),
        Lesson(ONE, 1, steps, view=FULL),
        Lesson("five experts", 5, steps, view=FULL),
    )


def teach(
    guider: Guider, data: TrainingSet, lesson: Lesson, read: Reader, file: Path
) -> NoiseExperts:
    """The experts of `lesson`, kept in `file`; a training that was stopped resumes from it."""
    settings, unfinished = lesson.settings(), file.with_suffix(".run")
    if not file.exists():
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        distill(guider, data, settings, read=read, file=unfinished)
        unfinished.rename(file)
    state = resume(file, "")
    scaling = settings.adapter.lora_alpha / settings.adapter.rank
    pairs = zip(settings.ranges(), state.experts, strict=True)
    return NoiseExperts([Expert(noise, tensors, scaling) for noise, tensors in pairs])


def measure(
    guider: Guider,
    experts: NoiseExperts | None,
    states: Tensor,
    answers: Tensor,
    read: Reader,
    file: Path,
) -> dict[str, Tensor]:
    """Agreement of each picture (10, N), and loss (10,), per tenth of the timesteps.

    All rows read the same noise. Kept in `file`. `states`: clean ones (N, ...), `answers`: the
    teacher's to the clean pictures.
    """
    if not file.exists():
        data, kind = TrainingSet(states, answers), guider.info.kind
        agreement, losses = [], []
        for noise_range in DECILES:
            middle = (noise_range.low * noise_range.high) ** 0.5
            guider.switch.activate(experts and experts.select(middle))
            answer = torch.cat(list(_answers(guider, data, noise_range, read)))
            agreement.append(agreement_of(kind)(answer, answers.float()))
            losses.append(compare(kind, answer, answers.float(), 1.0)[0])
        guider.switch.restore()
        found = {"agreement": torch.stack(agreement), "loss": torch.tensor(losses)}
        save_safetensors(found, file, {})
    return load_file(file)


def agreement_of(kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The trainer's own measure; for maps of objects on a background the objects' alone."""
    return object_agreement if kind == "segmentation" else comparisons()[kind].agreement


def object_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): of the pixels where one or both see an object, the share where both see the same.

    Class 0 is the background; 1 where there is nothing else. Background agrees with background at
    any noise, so that the share of all pixels would hide what is lost.
    """
    seen, known = answer.argmax(dim=1), teacher.argmax(dim=1)
    either = ((seen > 0) | (known > 0)).flatten(1).sum(dim=1)
    both = ((seen == known) & (known > 0)).flatten(1).sum(dim=1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


@torch.no_grad()
def _answers(
    guider: Guider, data: TrainingSet, noise_range: NoiseRange, read: Reader
) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for chosen in torch.arange(len(data)).split(BATCH):
        x_0 = data.x_0(chosen)
        sigma_ve = sample_sigma_ve(noise_range, len(x_0), generator)
        eps = torch.randn(x_0.shape, generator=generator)
        yield downscale(guider(read(x_0, sigma_ve, eps)), guider.info.kind)
