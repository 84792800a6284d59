"""A guider's agreement with its teacher on noisy images, per range, plain and with experts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..experts import Expert, NoiseExperts
from ..guiders import Guider
from ..noise import NoiseRange, sample_sigma_ve
from .batch import FROM_NOISE, Reader
from .losses import compare, constant_loss, downscale, loss_kind
from .training_set import TrainingSet

NOTHING_MEASURED = "No picture was held out (fewer than 10): nothing is measured."
MOST_BYTES = 1 << 30  # of answers that are compared: of more pictures the last ones count
NO_SIGNAL = 0.02  # an expert whose loss is this near to the constant answer's ignores the picture


@dataclass(frozen=True)
class RangeAgreement:
    """Held-out loss and agreement with the teacher in one noise range.

    `constant_loss`: of the best constant answer. `num_pictures`: how many were compared.
    `training_loss`: on the pictures that the expert learned from, at the end of its training.
    """

    noise_range: NoiseRange
    plain_loss: float
    expert_loss: float
    plain: float
    expert: float
    constant_loss: float
    num_pictures: int
    training_loss: float = math.inf

    @property
    def is_silent(self) -> bool:
        """The expert has learned no more than a constant answer: the range has no signal."""
        return abs(self.expert_loss - self.constant_loss) <= NO_SIGNAL * self.constant_loss

    @property
    def is_undertrained(self) -> bool:
        return self._is_worse_than_constant and not self.is_by_heart

    @property
    def is_by_heart(self) -> bool:
        """It knows the answers to its own pictures, and those to no others."""
        return self._is_worse_than_constant and self.training_loss < self.constant_loss

    @property
    def _is_worse_than_constant(self) -> bool:
        return self.expert_loss > (1 + NO_SIGNAL) * self.constant_loss


@dataclass
class HeldOut:
    """Pictures held out, with the teacher's answers; of very large answers the last ones."""

    guider: Guider
    data: TrainingSet
    read: Reader = FROM_NOISE
    temperature: float = 1.0
    depth_loss: str = "aligned"
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self):
        row_bytes = 4 * math.prod(self.data.answers.shape[1:])
        self.data = self.data.last(max(1, MOST_BYTES // row_bytes))
        self.kind = loss_kind(self.guider.info.kind, self.depth_loss)
        self.teacher = self.data.answers[torch.arange(len(self.data))].float()

    def constant_loss(self) -> float:
        return constant_loss(self.kind, self.teacher, self.temperature)

    def compare(self, noise_range: NoiseRange, expert: Expert | None) -> tuple[float, float]:
        """(loss, agreement) of the guider with `expert`, or alone, always on the same noise."""
        self.guider.switch.activate(expert)
        rows_of = _of_estimates if self.data.estimates else _of_noise
        how = self.data, self.read, self.seed, self.batch_size
        parts = list(rows_of(self.guider, noise_range, *how))
        answer, chosen = (torch.cat(part) for part in zip(*parts, strict=True))
        return compare(self.kind, answer, self.teacher[chosen], self.temperature)


@torch.no_grad()
def agreement_per_range(
    guider: Guider,
    experts: NoiseExperts,
    data: TrainingSet,
    *,
    read: Reader = FROM_NOISE,
    temperature: float = 1.0,
    depth_loss: str = "aligned",
    seed: int = 0,
    batch_size: int = 64,
) -> list[RangeAgreement]:
    """Plain guider and experts on the same noise, compared with `data.answers`.

    One row for each expert; no rows without pictures.
    """
    if not len(data):
        return []
    heldout = HeldOut(guider, data, read, temperature, depth_loss, seed, batch_size)
    constant, rows = heldout.constant_loss(), []
    for expert in experts.experts:
        plain_loss, plain = heldout.compare(expert.noise_range, None)
        loss, agreed = heldout.compare(expert.noise_range, expert)
        num = len(heldout.data)
        rows.append(
            RangeAgreement(expert.noise_range, plain_loss, loss, plain, agreed, constant, num)
        )
    guider.switch.restore()
    return rows


@torch.no_grad()
def loss_of(guider: Guider, expert: Expert, data: TrainingSet, **how) -> float:
    """An expert's loss in its range, as in `agreement_per_range`, which explains `how`."""
    loss, _ = HeldOut(guider, data, **how).compare(expert.noise_range, expert)
    guider.switch.restore()
    return loss


Answers = Iterator[tuple[Tensor, Tensor]]  # of the guider, with the pictures (B,) they are about


def _of_noise(
    guider: Guider,
    noise_range: NoiseRange,
    data: TrainingSet,
    read: Reader,
    seed: int,
    batch_size: int,
) -> Answers:
    """Every picture with fresh noise."""
    device = next(guider.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    for chosen in torch.arange(len(data)).split(batch_size):
        x_0 = data.x_0(chosen)
        sigma_ve = sample_sigma_ve(noise_range, len(x_0), generator)
        eps = torch.randn(x_0.shape, generator=generator)
        image = read(x_0.to(device), sigma_ve.to(device), eps.to(device))
        yield downscale(guider(image), guider.info.kind).cpu(), chosen


def _of_estimates(
    guider: Guider,
    noise_range: NoiseRange,
    data: TrainingSet,
    read: Reader,
    seed: int,
    batch_size: int,
) -> Answers:
    """Every picture's kept estimate that is nearest to the range's middle."""
    device = next(guider.parameters()).device
    columns = data.estimates.nearest(noise_range)
    for chosen in torch.arange(len(data)).split(batch_size):
        x0_hat = data.estimates.x0_hat[chosen, columns[chosen]]
        answer = guider(read.view(x0_hat.to(device).float()))
        yield downscale(answer, guider.info.kind).cpu(), chosen


def merge_silent(experts: NoiseExperts, rows: list[RangeAgreement]) -> NoiseExperts:
    """Neighbouring ranges without signal share one expert: there is nothing to tell apart.

    Without `rows`, where nothing was measured, every expert stays.
    """
    if not rows:
        return experts
    kept: list[Expert] = []
    for index, (expert, row) in enumerate(zip(experts.experts, rows, strict=True)):
        if index and row.is_silent and rows[index - 1].is_silent:
            last = kept.pop()
            whole = NoiseRange(last.noise_range.low, expert.noise_range.high)
            expert = Expert(whole, last.tensors, last.scaling)
        kept.append(expert)
    return NoiseExperts(kept)


def agreement_table(rows: list[RangeAgreement]) -> str:
    """The rows as text for a terminal."""
    if not rows:
        return NOTHING_MEASURED
    lines = [f"{'noise range (sigma)':>24}  {'plain':>7}  {'expert':>7}  {'pictures':>8}"]
    lines += [
        f"{row.noise_range!s:>24}  {row.plain:7.1%}  {row.expert:7.1%}  {row.num_pictures:>8}"
        for row in rows
    ]
    return "\n".join(lines)
