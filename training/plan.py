"""--dry-run: what a training would do and cost, measured on a step of its real size."""

import sys
import time

import psutil
import torch

from ppap_core.comfy_bridge.drawing import picture_size
from ppap_core.comfy_bridge.trainer import Trainer
from ppap_core.distillation.adapters import count_trainable
from ppap_core.distillation.distill import loss_function
from ppap_core.distillation.learner import Batch, Learner
from ppap_core.distillation.losses import shrink
from ppap_core.distillation.settings import plan_phases
from ppap_core.distillation.workers import world_size

TRIAL_STEPS = 2


def plan(trainer: Trainer, with_generate: bool) -> str:
    """The plan in lines for a terminal. Loads the models, and makes a trial step or two."""
    settings, guider = trainer.distilling, trainer.guider
    learner = Learner(guider, settings, TRIAL_STEPS)
    trainable = count_trainable(learner.student)
    backbone = sum(p.numel() for p in guider.backbone.parameters())
    seconds = trial(trainer, learner)
    phases = plan_phases(settings)
    steps = sum(phase.steps for phase in phases)
    lines = [
        f"guider      {guider.info.source}, {guider.info.kind}, {backbone / 1e6:.1f}M parameters",
        f"checkpoint  {trainer.checkpoint.name}, {trainer.checkpoint.latent_format_name}",
        *(f"expert {i}    noise {r}" for i, r in enumerate(settings.ranges())),
        f"parameters  {trainable:,} per expert ({trainable / backbone:.1%} of the guider), "
        f"LoRA rank {learner.student.spec.rank} on {len(learner.student.spec.layers)} layers",
        f"steps       {steps} of {settings.batch_size} images in {len(phases)} phases",
    ]
    if with_generate:
        todo, steps_each = trainer.num_missing(), trainer.drawing.steps
        disk = todo * trainer.picture_bytes() / 1e9
        lines.append(f"pictures    {todo} to draw, {steps_each} steps each, {disk:.2f} GB")
    memory = peak_memory(learner.device) / 1e9
    lines += [
        f"memory      {memory:.2f} GB on {learner.device} while distilling",
        f"time        {steps * seconds / 60:.1f} min of distilling ({seconds:.2f} s a step)",
    ]
    return "\n".join(lines)


def trial(trainer: Trainer, learner: Learner) -> float:
    """Seconds per optimiser step, on noise of the right size."""
    settings, guider = trainer.distilling, trainer.guider
    width, height = picture_size(trainer.checkpoint, trainer.drawing)
    num = max(1, settings.batch_size // settings.accumulation // world_size())
    image = torch.randn(num, 3, height, width, device=learner.device)
    with torch.no_grad():
        answer = shrink(guider(image))
    loss_of = loss_function(guider.info.kind, settings)
    for _ in range(TRIAL_STEPS):
        start = time.perf_counter()
        pieces = [(Batch(image, answer), 1 / settings.accumulation)] * settings.accumulation
        learner.learn(pieces, loss_of).item()
        seconds = time.perf_counter() - start
    return seconds


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest point so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
