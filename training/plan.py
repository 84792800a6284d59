"""--dry-run: what a training would do and cost, measured on steps of its real size."""

import sys
import time

import psutil
import torch

from ppap_core.comfy_bridge.pictures import picture_bytes, picture_size
from ppap_core.comfy_bridge.trainer import Trainer
from ppap_core.distillation.batch import Piece
from ppap_core.distillation.learner import Learner
from ppap_core.distillation.losses import downscale
from ppap_core.distillation.phases import plan_phases
from ppap_core.distillation.student import count_trainable
from ppap_core.distillation.workers import world_size

TRIAL_STEPS = 2


def plan(trainer: Trainer, with_generate: bool) -> str:
    """The plan in lines for a terminal, after TRIAL_STEPS steps of which nothing is kept."""
    settings, guider = trainer.distill, trainer.guider
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
        todo, steps_each = trainer.num_missing(), trainer.generate.steps
        disk = todo * picture_bytes(trainer.checkpoint, trainer.generate) / 1e9
        lines.append(f"pictures    {todo} to generate, {steps_each} steps each, {disk:.2f} GB")
    memory = peak_memory(learner.device) / 1e9
    lines += [
        f"memory      {memory:.2f} GB on {learner.device} while distilling",
        f"time        {steps * seconds / 60:.1f} min of distilling ({seconds:.2f} s a step)",
    ]
    return "\n".join(lines)


def trial(trainer: Trainer, learner: Learner) -> float:
    """Seconds per optimiser step, on noise of the right size."""
    settings, guider = trainer.distill, trainer.guider
    width, height = picture_size(trainer.checkpoint, trainer.generate)
    num = max(1, settings.batch_size // settings.accumulation // world_size())
    image = torch.randn(num, 3, height, width, device=learner.device)
    with torch.no_grad():
        answer = downscale(guider(image))
    pieces = [Piece(image, answer, 1 / settings.accumulation)] * settings.accumulation
    for _ in range(TRIAL_STEPS):
        start = time.perf_counter()
        learner.learn(pieces).item()
        seconds = time.perf_counter() - start
    return seconds


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
