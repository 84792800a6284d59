"""A guider's agreement with its teacher on noisy images, per range, plain and with experts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..experts import Expert, NoiseExperts
from ..guiders import Guider
from ..noise import NoiseRange, sample_sigma_ve
from ..out_of_memory import AtOnce
from .batch import FROM_NOISE, Reader
from .losses import compare, constant_loss, downscale, loss_function, loss_kind
from .shown import Shown
from .training_set import TrainingSet

NOTHING_MEASURED = "No picture was held out (fewer than 10): nothing is measured."
MOST_BYTES = 1 << 30  # of answers that are compared: of more pictures the last ones count
Answers = Iterator[tuple[Tensor, Tensor]]  # rows of the pictures (B,), and the guider's to them
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


class HeldOut:
    """Pictures held out: how a guider's answers to noisy ones compare with the teacher's.

    Of very large answers the last pictures count. `at_once`: how many the guider reads in one pass,
    fewer if memory runs out. A picture's noise is the same, whoever reads it and how many at once.
    The guider is left without experts.
    """

    def __init__(
        self,
        guider: Guider,
        data: TrainingSet,
        *,
        read: Reader = FROM_NOISE,
        temperature: float = 1.0,
        depth_loss: str = "aligned",
        seed: int = 0,
        at_once: int = 64,
    ):
        row_bytes = 4 * math.prod(data.answers.shape[1:])
        self.guider, self.data = guider, data.last(max(1, MOST_BYTES // row_bytes))
        self.read, self.temperature, self.seed = read, temperature, seed
        self.kind = loss_kind(guider.info.kind, depth_loss)
        self._at_once = AtOnce(at_once)
        if data.estimates:
            self._shown = Shown(self.data.estimates, read.view, guider.preprocessing)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def _device(self) -> torch.device:
        """Where the guider is now: between looks ComfyUI may move it."""
        return next(self.guider.parameters()).device

    def loss(self, expert: Expert) -> float:
        """Of `expert` in its own range, as `rows` has it; holds a few answers at a time."""
        loss = loss_function(self.kind, self.temperature)

        def mean(num: int) -> float:
            parts = self._answers(expert.noise_range, expert, num)
            losses = (len(teacher) * loss(answer, teacher).item() for answer, teacher in parts)
            return sum(losses) / len(self)

        return self._at_once.of(mean)

    def rows(self, experts: NoiseExperts) -> list[RangeAgreement]:
        """The guider alone and with each of `experts`, in its range; none without pictures."""
        if not len(self):
            return []
        teacher, rows = self.data.answers[torch.arange(len(self))].float(), []
        constant = constant_loss(self.kind, teacher, self.temperature)
        for expert in experts.experts:
            plain_loss, plain = self._compare(expert.noise_range, None)
            loss, agreed = self._compare(expert.noise_range, expert)
            figures = plain_loss, loss, plain, agreed, constant
            rows.append(RangeAgreement(expert.noise_range, *figures, len(self)))
        return rows

    def _compare(self, noise_range: NoiseRange, expert: Expert | None) -> tuple[float, float]:
        """(loss, agreement) over all pictures together."""
        parts = self._at_once.of(lambda num: list(self._answers(noise_range, expert, num)))
        answer, teacher = (torch.cat(part) for part in zip(*parts, strict=True))
        return compare(self.kind, answer, teacher, self.temperature)

    @torch.no_grad()
    def _answers(
        self, noise_range: NoiseRange, expert: Expert | None, num: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The guider's answers and the teacher's, of `num` pictures at a time."""
        answers_of = self._of_estimates if self.data.estimates else self._of_noise
        self.guider.switch.activate(expert)
        try:
            for chosen, answer in answers_of(noise_range, torch.arange(len(self)).split(num)):
                yield downscale(answer, self.kind).cpu(), self.data.answers[chosen].float()
        finally:
            self.guider.switch.restore()

    def _of_noise(self, noise_range: NoiseRange, parts: Sequence[Tensor]) -> Answers:
        """To every picture with noise of its own."""
        sigma_ve = sample_sigma_ve(noise_range, len(self), torch.Generator().manual_seed(self.seed))
        for chosen in parts:
            x_0 = self.data.x_0(chosen)
            eps = torch.stack([self._noise(x_0[0], picture) for picture in chosen.tolist()])
            place = x_0, sigma_ve[chosen], eps
            image = self.read(*(tensor.to(self._device) for tensor in place))
            yield chosen, self.guider(image)

    def _noise(self, like: Tensor, picture: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1 + picture)
        return torch.randn(like.shape, generator=generator)

    def _of_estimates(self, noise_range: NoiseRange, parts: Sequence[Tensor]) -> Answers:
        """To every picture's kept estimate that is nearest to the range's middle."""
        columns = self.data.estimates.nearest(noise_range)
        for chosen in parts:
            place = noise_range, chosen, columns[chosen], self._device
            yield chosen, self.guider.answer(*self._shown(*place))


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
