"""Teach one expert per noise range to answer to noisy images as the guider does to clean ones.

PPAP's knowledge transfer (Go et al., 2023, section 4.3): the teacher's answer on x_0 is the only
target, so no label is needed.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..expert_header import LoraSpec
from ..experts import Expert, NoiseExperts
from ..guiders import Guider
from ..interruptible import Ask, interruptible
from ..out_of_memory import is_out_of_memory
from .batch import FROM_NOISE, Batch, Lessons, Reader
from .learner import Learner
from .lora_layers import choose_tensors
from .losses import constant_loss, loss_kind
from .phases import Phase, plan_phases
from .settings import DistillSettings
from .state import Tensors, TrainingState, resume, settings_by_name
from .training_set import TrainingSet
from .workers import rank, same_everywhere, world_size

LOOKS = 10  # at pictures held out, while an expert learns; another one before its first step
SOME = 64  # pictures whose answers tell what a constant answer is worth
FEWEST = 8  # pictures held out: fewer say too little of which weights are best

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """What a watcher gets after every step. `data_share`: of the step's time, for its batch.

    `learned`: makes the experts as they stand, that of this phase among them. Noise above their
    ranges has no expert yet.
    """

    phase: Phase
    step: int
    loss: float
    images_per_second: float
    data_share: float
    learned: Callable[[], NoiseExperts]


@dataclass(frozen=True)
class Distilled:
    """What came out. `losses`: per phase, one per step. `kept`: per expert, the step after which it
    had its weights. Of an unfinished training, so far.
    """

    experts: NoiseExperts
    lora: LoraSpec
    phases: list[Phase]
    losses: list[list[float]]
    kept: list[int]

    def final_losses(self) -> list[float]:
        """Per expert, the mean over the last tenth of its steps."""
        tails = [losses[-max(1, len(losses) // 10) :] for losses in self.losses]
        return [
            sum(tail) / len(tail)
            for tail, phase in zip(tails, self.phases, strict=True)
            if phase.expert is not None
        ]


def takes_looks(settings: DistillSettings, num_heldout: int) -> bool:
    """Whether experts are to be judged by `num_heldout` pictures while they learn."""
    return settings.keep_best and num_heldout >= FEWEST


def distill(
    guider: Guider,
    data: TrainingSet,
    settings: DistillSettings,
    *,
    read: Reader = FROM_NOISE,
    file: Path | None = None,
    fingerprint: str = "",
    save_every: int = 200,
    save_seconds: float = 60.0,
    facts: dict[str, object] | None = None,
    ask: Ask = lambda: None,
    judge: Callable[[Expert], float] | None = None,
    begin: Callable[[], None] = lambda: None,
    watch: Callable[[Progress], None] = lambda progress: None,
    expert_done: Callable[[Distilled], None] = lambda so_far: None,
) -> Distilled:
    """Experts for `guider`, learned from `data` without labels.

    `file` keeps the training's state, every `save_every` steps, after `save_seconds` and whenever
    something stops the training; with the same `fingerprint` a later call resumes from it and ends
    with the same bits. `facts`: by name, to say later which differ. `ask` is called throughout a
    step, and what it raises stops the training there (interruptible.py). `judge` tells an expert's
    loss on pictures held out: each ends with those of its weights whose loss was lowest. `begin` is
    called before the first step, once `file` is known to belong to this training. `watch` is called
    after every step, `expert_done` after each expert but the last one, with those that are done.
    """
    phases, spec = plan_phases(settings), choose_tensors(guider.backbone, settings.adapter)
    state = resume(file, fingerprint, settings_by_name(settings) | (facts or {}))
    constant = _constant_loss(guider, data, settings) if settings.rate_by_loss else 0.0
    lessons = Lessons(data, read, guider.preprocessing)
    begin()
    saved = time.monotonic()
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        guider.switch.restore()
        while state.phase < len(phases):
            phase = phases[state.phase]
            learner = _begin(phase, state, guider, settings, constant)
            with interruptible([learner.student], ask):
                _keep_best(phase, state, learner, judge)
                while state.step < phase.steps:
                    taken = state.step
                    try:
                        progress = _step(phase, state, learner, lessons, settings, file)
                        _keep_best(phase, state, learner, judge)
                        watch(progress)
                    except BaseException as error:  # a person, or ComfyUI, stops the run
                        is_of_step = state.step == taken  # not of a look, or of a watcher
                        if is_of_step and (smaller := _in_smaller_parts(settings, learner, error)):
                            settings = smaller
                            continue
                        if learner.is_whole:
                            _save(state, learner, file)
                        raise
                    if state.step % save_every == 0 or time.monotonic() - saved >= save_seconds:
                        _save(state, learner, file)
                        saved = time.monotonic()
            _end(phase, state, learner)
            _save(state, None, file)
            if 0 < len(state.experts) < settings.num_experts:
                expert_done(_distilled(state, phases, spec))
    return _distilled(state, phases, spec)


def _constant_loss(guider: Guider, data: TrainingSet, settings: DistillSettings) -> float:
    """Of the best constant answer to some of the pictures."""
    kind = loss_kind(guider.info.kind, settings.depth_loss)
    some = torch.linspace(0, len(data) - 1, min(SOME, len(data))).long()
    answers = data.answers[some].float()
    return same_everywhere(constant_loss(kind, answers, settings.temperature))


def _distilled(state: TrainingState, phases: list[Phase], spec: LoraSpec) -> Distilled:
    """What `state` holds of finished experts."""
    done = phases[: state.phase]
    return Distilled(_experts(state, done, spec), spec, done, state.losses, state.kept)


def _experts(
    state: TrainingState, phases: list[Phase], spec: LoraSpec, unfinished: Tensors | None = None
) -> NoiseExperts:
    """Those that `state` holds. `unfinished`: the adapter of the last one of `phases`."""
    ranges = [phase.noise_range for phase in phases if phase.expert is not None]
    adapters = [*state.experts]
    if unfinished is not None:
        adapters.append(unfinished)
        ranges = ranges or [phases[-1].noise_range]  # the shared phase: for all noise
    pairs = zip(ranges, adapters, strict=True)
    return NoiseExperts([Expert(one, tensors, spec.scaling) for one, tensors in pairs])


def _seed(settings: DistillSettings, phase: int, step: int) -> int:
    seed = (settings.seed * 1_009 + phase + 1) * 10_000_019 + step
    return seed % 2**64  # PyTorch takes no larger ones


def _begin(
    phase: Phase,
    state: TrainingState,
    guider: Guider,
    settings: DistillSettings,
    constant: float,
) -> Learner:
    """The learner of a phase, at its beginning or at the step that `state` stands at."""
    torch.manual_seed(_seed(settings, state.phase, 0) - 1)  # for the adapter's first weights
    start = state.start_of(phase.starts_from)
    learner = Learner(guider, settings, phase.steps, start, constant)
    if state.learner:
        learner.load(state.learner, state.step)
    if len(state.losses) == state.phase:
        state.losses.append([])
    return learner


def _step(
    phase: Phase,
    state: TrainingState,
    learner: Learner,
    lessons: Lessons,
    settings: DistillSettings,
    file: Path | None,
) -> Progress:
    """Take one step and note it in `state`. RuntimeError if the loss is not finite."""
    start = time.perf_counter()
    seed = _seed(settings, state.phase, state.step)  # a step's own: eases resuming
    torch.manual_seed(seed)  # for decoders that draw: LTX-Video's
    batch = lessons.batch(phase.noise_range, settings, seed, learner.device)
    ready = time.perf_counter()
    loss = learner.learn(batch.pieces).item()
    if not loss < math.inf:
        raise _not_finite(loss, phase, state, batch, file)
    state.step += 1
    state.losses[-1].append(loss)
    seconds = time.perf_counter() - start
    rate, share = settings.batch_size / seconds, (ready - start) / seconds
    begun = state.phase + 1

    def learned() -> NoiseExperts:
        phases = plan_phases(settings)[:begun]
        return _experts(state, phases, learner.student.spec, learner.adapter())

    return Progress(phase, state.step, loss, rate, share, learned)


def _keep_best(
    phase: Phase, state: TrainingState, learner: Learner, judge: Callable[[Expert], float] | None
) -> None:
    """Look now and then, before the first step too, whether the expert is better than it was.

    Few pictures are learned by heart, after which the loss on others rises.
    """
    looks = state.step * LOOKS % phase.steps < LOOKS
    if judge is None or phase.expert is None or not looks:
        return
    adapter = learner.adapter()
    loss = same_everywhere(judge(Expert(phase.noise_range, adapter, learner.student.spec.scaling)))
    if loss < state.best_loss:
        state.best, state.best_step, state.best_loss = adapter, state.step, loss


def _in_smaller_parts(
    settings: DistillSettings, learner: Learner, error: BaseException
) -> DistillSettings | None:
    """For the step that ran out of memory: twice as many parts, with the same gradient.

    None after another error, where parts have one picture, and beside other processes, whose norms
    may count their statistics together, part by part.
    """
    parts, num = settings.accumulation, settings.batch_size
    if parts == num or world_size() > 1 or not (is_out_of_memory(error) and learner.is_whole):
        return None
    parts = min(2 * parts, num)
    log.warning("out of memory: the %d pictures of a step pass in %d parts now", num, parts)
    return replace(settings, accumulation=parts)


def _end(phase: Phase, state: TrainingState, learner: Learner) -> None:
    """Keep what a phase gave; the next one begins."""
    if phase.expert is None:
        state.shared = learner.adapter()
    else:
        state.experts.append(state.best or learner.adapter())
        state.kept.append(state.best_step if state.best else phase.steps)
    state.phase, state.step, state.learner = state.phase + 1, 0, None
    state.best, state.best_step, state.best_loss = None, 0, math.inf


def _save(state: TrainingState, learner: Learner | None, file: Path | None) -> None:
    if file is not None and rank() == 0:
        state.learner = learner.state() if learner else None
        state.save(file)
        state.learner = None


def _not_finite(
    loss: float, phase: Phase, state: TrainingState, batch: Batch, file: Path | None
) -> RuntimeError:
    kept = f"; the last good state is in {file}" if file is not None and file.is_file() else ""
    return RuntimeError(
        f"the loss is {loss} in noise range {phase.noise_range}, step {state.step + 1} "
        f"({batch.first_problem()}){kept}: lower the learning rate, or train in fp32"
    )
