"""Teach one expert per noise range to say of the noisy image what the guider says of the clean one.

PPAP's knowledge transfer (Go et al., 2023, section 4.3): the teacher's answer on x_0 is the only
target, so no label is needed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..expert_file import LoraSpec
from ..experts import Expert, NoiseExperts
from ..guiders import Guider
from ..noise import add_noise, sample_sigma_ve
from .images import to_unit_range
from .learner import Batch, Learner
from .losses import COMPARISONS, depth_mse, shrink
from .run import Run, resume
from .settings import DistillSettings, Phase, plan_phases
from .workers import rank, share_of

# (x_0, sigma_ve, eps) -> the image that the guider reads, (B, 3, H, W) in [-1, 1]
Reader = Callable[[Tensor, Tensor, Tensor], Tensor]


def read_x_t(view: Callable[[Tensor], Tensor] = lambda x_vp: x_vp) -> Reader:
    """The paper's input: the noisy state itself, through a view."""
    return lambda x_0, sigma_ve, eps: view(add_noise(x_0, sigma_ve, eps))


@dataclass(frozen=True)
class TrainingSet:
    """`states`: (N, C, ...) clean states of the diffusion model: uint8 pixels, or latents in the
    model's own scale. `answers`: (N, ...) what the teacher says of each clean picture. `name`
    tells this set from any other.
    """

    states: Tensor
    answers: Tensor
    name: str = ""

    def __post_init__(self):
        if len(self.states) != len(self.answers):
            raise ValueError(f"{len(self.states)} states but {len(self.answers)} answers")

    def __len__(self) -> int:
        return len(self.states)

    def x_0(self, chosen: Tensor) -> Tensor:
        states = self.states[chosen]
        return to_unit_range(states) if states.dtype == torch.uint8 else states.float()

    def split(self, num_heldout: int) -> tuple["TrainingSet", "TrainingSet"]:
        """(training, held-out): the last `num_heldout`, at most a tenth, are never trained on."""
        cut = len(self) - min(num_heldout, len(self) // 10)
        return (
            TrainingSet(self.states[:cut], self.answers[:cut], self.name),
            TrainingSet(self.states[cut:], self.answers[cut:], self.name),
        )


class Progress(NamedTuple):
    """What a watcher is told after every step. `data_share`: of the step's time."""

    phase: Phase
    step: int
    loss: float
    images_per_second: float
    data_share: float


@dataclass(frozen=True)
class Distilled:
    """What came out. `losses`: per phase, one per step."""

    experts: NoiseExperts
    lora: LoraSpec
    phases: list[Phase]
    losses: list[list[float]]

    def final_losses(self) -> list[float]:
        """Per expert, the mean over the last tenth of its steps."""
        tails = [losses[-max(1, len(losses) // 10) :] for losses in self.losses]
        return [
            sum(tail) / len(tail)
            for tail, phase in zip(tails, self.phases, strict=True)
            if phase.expert is not None
        ]


@torch.no_grad()
def teacher_answers(guider: Guider, images: Tensor, batch_size: int = 64) -> Tensor:
    """What the plain guider says of each clean image; `images`: (N, 3, H, W) uint8."""
    guider.switch.restore()
    device = next(guider.parameters()).device
    chunks = images.split(batch_size)
    return torch.cat([shrink(guider(to_unit_range(chunk).to(device))).cpu() for chunk in chunks])


def loss_function(kind: str, settings: DistillSettings) -> Callable[[Tensor, Tensor], Tensor]:
    loss = COMPARISONS[kind].loss
    if kind == "depth" and settings.depth_loss == "mse":
        loss = depth_mse
    return lambda answer, teacher: loss(shrink(answer), teacher, settings.temperature)


def distill(
    guider: Guider,
    data: TrainingSet,
    settings: DistillSettings,
    *,
    read: Reader | None = None,
    file: Path | None = None,
    identity: str = "",
    save_every: int = 200,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Distilled:
    """Experts for `guider`, learned from `data` without labels.

    `file` keeps the run's state, every `save_every` steps and whenever `watch` raises; with the
    same `identity` a later call goes on from there and ends with the same bits.
    """
    phases = plan_phases(settings)
    run = resume(file, identity)
    teaching = _Teaching(guider, data, settings, read or read_x_t(), file, save_every, watch)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        guider.switch.restore()
        while run.phase < len(phases):
            teaching.teach(run, phases[run.phase])
        spec = Learner(guider, settings, 1).student.spec
    scaling = spec.lora_alpha / spec.rank
    experts = [
        Expert(noise_range, tensors, scaling)
        for noise_range, tensors in zip(settings.ranges(), run.experts, strict=True)
    ]
    return Distilled(NoiseExperts(experts), spec, phases, run.losses)


@dataclass
class _Teaching:
    guider: Guider
    data: TrainingSet
    settings: DistillSettings
    read: Reader
    file: Path | None
    save_every: int
    watch: Callable[[Progress], None]

    def teach(self, run: Run, phase: Phase) -> None:
        """One phase, from wherever `run` stands in it."""
        torch.manual_seed(self.seed(run.phase, 0) - 1)  # for the adapter's first weights
        learner = Learner(self.guider, self.settings, phase.steps, run.start_of(phase.starts_from))
        if run.learner:
            learner.load(run.learner, run.step)
        if len(run.losses) == run.phase:
            run.losses.append([])
        loss_of = loss_function(self.guider.info.kind, self.settings)
        while run.step < phase.steps:
            start = time.perf_counter()
            drawn = self.draw(run, phase, learner.device)
            ready = time.perf_counter()
            loss = learner.learn(drawn.pieces, loss_of).item()
            if not loss < float("inf"):
                raise self._lost(run, phase, drawn, loss)
            run.step += 1
            run.losses[-1].append(loss)
            seconds = time.perf_counter() - start
            rate, share = self.settings.batch_size / seconds, (ready - start) / seconds
            self._tell(run, learner, Progress(phase, run.step, loss, rate, share))
        self._finish(run, phase, learner)

    def seed(self, phase: int, step: int) -> int:
        return (self.settings.seed * 1_009 + phase + 1) * 10_000_019 + step

    @torch.no_grad()
    def draw(self, run: Run, phase: Phase, device) -> "_Drawn":
        """This process' share of the step's batch.

        A step draws from its own seed, so nothing but its number has to be remembered.
        """
        num = self.settings.batch_size
        seed = self.seed(run.phase, run.step)
        torch.manual_seed(seed)  # for dropout in the student
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.data), (num,), generator=generator)
        sigma_ve = sample_sigma_ve(phase.noise_range, num, generator)
        x_0 = self.data.x_0(chosen).to(device)
        noise = torch.Generator(device).manual_seed(seed)
        eps = torch.randn(x_0.shape, generator=noise, device=device)
        sigma_ve = sigma_ve.to(device)
        pieces, cuts = [], share_of(num, self.settings.accumulation)
        for cut in cuts:
            answer = self.data.answers[chosen[cut]].to(device).float()
            image = self.read(x_0[cut], sigma_ve[cut], eps[cut])
            pieces.append((Batch(image, answer), len(answer) / num))
        mine = slice(cuts[0].start, cuts[-1].stop) if cuts else slice(0)
        return _Drawn(pieces, chosen[mine], sigma_ve[mine])

    def _tell(self, run: Run, learner: Learner, progress: Progress) -> None:
        saved = self.file is not None and run.step % self.save_every == 0
        if saved:
            self._save(run, learner)
        try:
            self.watch(progress)
        except BaseException:  # a person, or ComfyUI, stops the run between two steps
            if not saved:
                self._save(run, learner)
            raise

    def _save(self, run: Run, learner: Learner | None) -> None:
        if self.file is not None and rank() == 0:
            run.learner = learner.state() if learner else None
            run.save(self.file)
            run.learner = None

    def _finish(self, run: Run, phase: Phase, learner: Learner) -> None:
        if phase.expert is None:
            run.shared = learner.adapter()
        else:
            run.experts.append(learner.adapter())
        run.phase, run.step, run.learner = run.phase + 1, 0, None
        self._save(run, None)

    def _lost(self, run: Run, phase: Phase, drawn: "_Drawn", loss: float) -> RuntimeError:
        images = [image for batch, _ in drawn.pieces for image in batch.image]
        bad = [i for i, image in enumerate(images) if not image.isfinite().all()]
        first = bad[0] if bad else 0
        named = f"image {int(drawn.chosen[first])} at sigma {drawn.sigma_ve[first]:.3g}"
        named = named if bad else f"the batch that begins with {named}"
        is_kept = self.file is not None and self.file.is_file()
        kept = f"; the last good state is in {self.file}" if is_kept else ""
        return RuntimeError(
            f"the loss is {loss} in noise range {phase.noise_range}, step {run.step + 1} "
            f"({named}){kept}: lower the learning rate, or train in fp32"
        )


class _Drawn(NamedTuple):
    """Weighted pieces of a batch, and the images and noise levels (B,) that they hold."""

    pieces: list[tuple[Batch, float]]
    chosen: Tensor
    sigma_ve: Tensor
