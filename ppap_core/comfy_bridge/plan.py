"""A dry run: what a training would do and cost, measured on steps of its real size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..distillation.phases import plan_phases
from ..distillation.progress import LEARNING, PREVIEW, READING, SAMPLING, duration
from .pictures import free_bytes, picture_bytes
from .training_checks import check_training
from .trial import Trial, left_of, try_out

if TYPE_CHECKING:
    from .trainer import Trainer


@dataclass(frozen=True)
class Plan:
    """`left`: how many of each part of a training; `seconds`: what they take; `disk`: bytes of
    pictures; `trial`: what it follows from.
    """

    left: dict[str, int]
    seconds: dict[str, float]
    disk: int
    trial: Trial


def measure(trainer: "Trainer") -> Plan:
    """After a few steps of which nothing is kept. ValueError as a training."""
    check_training(trainer)
    trial, left = try_out(trainer), left_of(trainer)
    seconds = {part: num * trial.seconds[part] for part, num in left.items()}
    disk = left[SAMPLING] * picture_bytes(trainer.checkpoint, trainer.generate)
    return Plan(left, seconds, disk, trial)


def plan(trainer: "Trainer") -> str:
    """The plan in lines."""
    found = measure(trainer)
    settings, guider, checkpoint = trainer.distill, trainer.guider, trainer.checkpoint
    trial, left, seconds = found.trial, found.left, found.seconds
    backbone = sum(p.numel() for p in guider.backbone.parameters())
    folder = trainer.files.image_folder()
    lines = [
        f"guider      {guider.info.source}, {guider.info.kind}, {backbone / 1e6:.1f}M parameters",
        f"checkpoint  {checkpoint.name}, {checkpoint.latent_format_name}",
        *(f"expert {i}    noise {r}" for i, r in enumerate(settings.ranges(), 1)),
        f"parameters  {trial.trainable:,} per expert ({trial.trainable / backbone:.1%} of the "
        f"guider), LoRA rank {trial.lora.rank} on {len(trial.lora.layers)} layers",
        f"steps       {left[LEARNING]} of {settings.batch_size} images in "
        f"{len(plan_phases(settings))} phases",
        f"pictures    {left[SAMPLING]} to sample, {trainer.generate.steps} steps each: "
        f"{duration(seconds[SAMPLING])} ({trial.seconds[SAMPLING]:.2f} s a picture)",
        f"answers     {left[READING]} pictures for the guider to read: "
        f"{duration(seconds[READING])}",
        f"learning    {duration(seconds[LEARNING])} ({trial.seconds[LEARNING]:.2f} s a step)",
        f"preview     {duration(seconds[PREVIEW])}",
        f"disk        {found.disk / 1e9:.2f} GB for pictures, {free_bytes(folder) / 1e9:.1f} GB "
        f"are free",
        f"memory      {trial.num_bytes / 1e9:.2f} GB on {trial.device} while it learns",
        f"time        {duration(sum(seconds.values()))} in all, and at most a twentieth of it for "
        f"pictures on the way",
    ]
    return "\n".join(lines)
