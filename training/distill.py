"""Teach one expert per noise range to say of the noisy image what the guider says of the clean one.

PPAP's knowledge transfer (Go et al., 2023, section 4.3): the teacher's answer on x_0 is the only
target, so no label is needed. Experts are trained from low noise to high noise, each starting from
its neighbour.
"""

import copy
import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ppap_core.expert_file import ExpertHeader, ExpertSet
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import Guider
from ppap_core.noise import PARTITIONS, NoiseRange, add_noise, sample_sigma_ve

from .adapters import AdapterSettings, Student
from .images import to_unit_range

INITIALISATIONS = ("carry_over", "independent")


@dataclass(frozen=True)
class DistillSettings:
    """`steps`: optimiser steps per expert. `temperature`: of the teacher's softmax."""

    num_experts: int = 5
    partition: str = "timestep"
    initialisation: str = "carry_over"
    steps: int = 800
    warm_up_steps: int = 50
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    temperature: float = 1.0
    seed: int = 0
    adapter: AdapterSettings = field(default_factory=AdapterSettings)

    def __post_init__(self):
        for name, known in (("partition", PARTITIONS), ("initialisation", INITIALISATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        for name in ("num_experts", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")


def class_loss(answer: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) in nats per image; both (B, K) logits, the teacher's sharpened."""
    target = (teacher / temperature).log_softmax(dim=-1)
    return F.kl_div(answer.log_softmax(dim=-1), target, reduction="batchmean", log_target=True)


@torch.no_grad()
def teacher_answers(guider: Guider, images: Tensor, batch_size: int = 256) -> Tensor:
    """What the plain guider says of each clean image; `images`: (N, 3, H, W) uint8."""
    guider.switch.restore()
    device = next(guider.parameters()).device
    chunks = images.split(batch_size)
    return torch.cat([guider(to_unit_range(chunk).to(device)).cpu() for chunk in chunks])


def train_range(
    student: Student,
    guider: Guider,
    noise_range: NoiseRange,
    images: Tensor,
    answers: Tensor,
    settings: DistillSettings,
    seed: int,
) -> float:
    """Train `student` on noise from `noise_range`; the mean loss of the last tenth of the steps."""
    device = next(student.parameters()).device
    optimizer = torch.optim.AdamW(
        student.trainable(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _warm_up_then_cosine(step, settings)
    )
    generator = torch.Generator().manual_seed(seed)
    student.train()
    losses = []
    bar = tqdm(range(settings.steps), desc=f"expert {noise_range}", unit="step", mininterval=2)
    for _ in bar:
        chosen = torch.randint(len(images), (settings.batch_size,), generator=generator)
        x_0 = to_unit_range(images[chosen])
        sigma_ve = sample_sigma_ve(noise_range, len(x_0), generator)
        x_t = add_noise(x_0, sigma_ve, torch.randn(x_0.shape, generator=generator)).to(device)
        answer = student(guider.preprocessing(x_t)).float()
        loss = class_loss(answer, answers[chosen].to(device), settings.temperature)
        if not loss.isfinite():
            raise RuntimeError(f"the loss is not finite in noise range {noise_range}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.trainable(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    student.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _warm_up_then_cosine(step: int, settings: DistillSettings) -> float:
    warm = min(1.0, (step + 1) / max(1, settings.warm_up_steps))
    return warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def distill(
    guider: Guider,
    images: Tensor,
    settings: DistillSettings,
    *,
    latent_format: str,
    checkpoint: str,
) -> ExpertSet:
    """Experts for `guider`, trained on `images` (N, 3, H, W) uint8 without labels.

    `latent_format` and `checkpoint` name where the images came from; they go into the header.
    """
    ranges = PARTITIONS[settings.partition](settings.num_experts)
    answers = teacher_answers(guider, images)
    torch.manual_seed(settings.seed)
    fresh = Student(guider.backbone, settings.adapter)
    student = copy.deepcopy(fresh)
    experts, losses = [], []
    for index, noise_range in enumerate(ranges):
        if settings.initialisation == "independent":
            student = copy.deepcopy(fresh)
        losses.append(
            train_range(
                student, guider, noise_range, images, answers, settings, settings.seed + index
            )
        )
        scaling = fresh.spec.lora_alpha / fresh.spec.rank
        experts.append(Expert(noise_range, student.tensors(), scaling))
    header = ExpertHeader.for_guider(
        guider,
        input="x_t",
        view="identity",
        latent_format=latent_format,
        checkpoint=checkpoint,
        noise_ranges=tuple(ranges),
        lora=fresh.spec,
        training={**asdict(settings), "num_images": len(images), "losses": losses},
    )
    return ExpertSet(header, NoiseExperts(experts))
