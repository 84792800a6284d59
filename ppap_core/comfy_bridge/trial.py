"""What a training takes, measured by a few steps of its real size, of which nothing is kept."""

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import psutil
import torch

from ..distillation.batch import Piece, Reader
from ..distillation.distill import LOOKS, takes_looks
from ..distillation.generate import settings_of
from ..distillation.images import find_images
from ..distillation.learner import Learner
from ..distillation.losses import downscale
from ..distillation.phases import plan_phases
from ..distillation.progress import LEARNING, PREVIEW, READING, SAMPLING
from ..distillation.shown import MOST_BYTES, num_decoded
from ..distillation.student import count_trainable
from ..distillation.training_set import num_held
from ..distillation.workers import world_size
from ..expert_header import LoraSpec
from ..out_of_memory import AtOnce
from .cancel import cancellable
from .pictures import build_sampler, picture_size
from .preview import NUM_PICTURES

if TYPE_CHECKING:
    from .trainer import Trainer

TRIAL_STEPS = 2
FEW, MORE = 2, 4  # sampling steps: the difference in time is that of a step
LONGEST = 2.0  # seconds for these steps of several pictures at once


@dataclass(frozen=True)
class Trial:
    """`seconds`: that one of each part of a training takes: a picture, an answer, a step with its
    share of the looks at pictures held out, the preview. `num_bytes`: most memory in use so far on
    `device`. `trainable`: parameters of an expert, in the layers of `lora`.
    """

    seconds: dict[str, float]
    num_bytes: int
    device: torch.device
    trainable: int
    lora: LoraSpec


def try_out(trainer: "Trainer") -> Trial:
    """Seconds and memory. Draws random numbers of its own; the guider is left without experts."""
    settings, picture = trainer.distill, picture_seconds(trainer)
    trainer.load_for_learning()
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        trainer.guider.switch.restore()
        learner = Learner(trainer.guider, settings, TRIAL_STEPS)
        with cancellable(learner.student, trainer.guider):
            read, answer, step, image_bytes = _learning_seconds(trainer, learner)
    num_bytes = peak_memory(learner.device)
    guided = trainer.generate.steps * (read + step / settings.batch_size)  # there and back
    preview = NUM_PICTURES * (4 * picture + 2 * guided)  # the guider alone asks the model twice
    found, looks = left_of(trainer)[READING], LOOKS + 1
    num, steps = num_held(found, settings.num_heldout), settings.steps_per_expert()
    reads, shown = settings.batch_size / world_size(), looks * num  # in a step; in all looks
    if _are_kept(trainer):
        of_range = max(1, found * trainer.generate.num_estimates // settings.num_experts)
        reads = num_decoded(round(steps * reads), of_range, image_bytes) / steps
        shown = num
        if learner.device.type == "cpu":
            num_bytes += min(of_range * image_bytes, MOST_BYTES)
    step += reads * read
    if takes_looks(settings, num):
        step += (shown * read + looks * num * answer) / steps
    seconds = {SAMPLING: picture, READING: answer, LEARNING: step, PREVIEW: preview}
    trainable = count_trainable(learner.student)
    return Trial(seconds, num_bytes, learner.device, trainable, learner.student.spec)


def left_of(trainer: "Trainer") -> dict[str, int]:
    """How many of each part of a training are to do, of one that has not begun to learn."""
    found = trainer.generate.num_images
    if not trainer.draws:
        found = len(find_images(trainer.files.image_folder()))
    missing = trainer.num_missing() if trainer.draws else 0
    steps = sum(phase.steps for phase in plan_phases(trainer.distill))
    return {SAMPLING: missing, READING: found, LEARNING: steps, PREVIEW: 1}


def picture_seconds(trainer: "Trainer") -> float:
    """To sample and decode a picture, as one of as many at once as LONGEST allows."""
    with torch.random.fork_rng(), cancellable(*trainer.checkpoint.networks()):
        _sampling_seconds(trainer, 1, FEW)  # loads the models
        one = _seconds_of_each(trainer, 1)
        most = min(trainer.generate.batch_size, trainer.generate.num_images)
        tried = (FEW + MORE) / trainer.generate.steps * one
        num = min(most, int(LONGEST / max(tried, 1e-3)))
        return AtOnce(num).of(partial(_seconds_of_each, trainer)) if num > 1 else one


def _seconds_of_each(trainer: "Trainer", num: int) -> float:
    few, more = (_sampling_seconds(trainer, num, steps) for steps in (FEW, MORE))
    step = max(0.0, more - few) / (MORE - FEW)
    return max(few + step * (trainer.generate.steps - FEW), step) / num


def _sampling_seconds(trainer: "Trainer", num: int, steps: int) -> float:
    settings = settings_of(trainer.files.image_folder(), trainer.generate)
    settings = replace(settings, steps=steps)
    sample = build_sampler(
        trainer.checkpoint, settings, trainer.conditioning, trainer.checkpoint.model
    )
    start = time.perf_counter()
    sample(list(range(num)), [""] * num)
    return time.perf_counter() - start


def _learning_seconds(trainer: "Trainer", learner: Learner) -> tuple[float, float, float, int]:
    """(of reading a state, of an answer, of an optimiser step without reading, bytes of an image),
    on noise of the right size.
    """
    settings, (_, read) = trainer.distill, trainer.reader()
    shape = trainer.checkpoint.latent_shape(*picture_size(trainer.checkpoint, trainer.generate))
    num = max(1, settings.batch_size // settings.accumulation // world_size())
    state = torch.randn(num, *shape, device=learner.device)
    at_once = 1 if _are_kept(trainer) else num
    if learner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(learner.device)
    for _ in range(TRIAL_STEPS):
        start = time.perf_counter()
        with torch.no_grad():
            images = []
            for part in state.split(at_once):
                picture = _read(trainer, read, part)
                images.append(trainer.guider.preprocessing(picture))
            image, sides = torch.cat(images), tuple(picture.shape[-2:])
            image.sum().item()  # waits for the GPU
            ready = time.perf_counter()
            answer = downscale(trainer.guider.answer(image, sides), trainer.guider.info.kind)
            answer.sum().item()
        answered = time.perf_counter()
        piece = Piece(image, sides, answer, 1 / settings.accumulation)
        learner.learn([piece] * settings.accumulation)
        learnt = time.perf_counter()
    num_bytes = image[0].half().nbytes
    return (ready - start) / num, (answered - ready) / num, learnt - answered, num_bytes


def _read(trainer: "Trainer", read: Reader, state: torch.Tensor) -> torch.Tensor:
    """What the guider reads in training, of `state` (B, C, ...)."""
    if trainer.distill.input == "x0_hat" and not _are_kept(trainer):
        return read(state, torch.ones(len(state), device=state.device), state)
    return read.view(state)


def _are_kept(trainer: "Trainer") -> bool:
    """Whether experts learn from estimates that are kept while pictures are sampled."""
    return trainer.distill.takes_kept and trainer.generate.num_estimates > 0


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
