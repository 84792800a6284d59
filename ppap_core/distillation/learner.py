"""A student with its optimiser and averaged weights, through one phase."""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ..guiders import Guider
from .batch import Piece
from .losses import loss_function, loss_kind
from .settings import DistillSettings
from .student import Student
from .workers import average_gradients, synchronise_norms

LEAST_SHARE = 0.05
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """Learns batch by batch. `state()` is all it takes to resume, while it `is_whole`.

    `constant`: the loss of the best constant answer, which `settings.rate_by_loss` compares with.
    """

    def __init__(
        self,
        guider: Guider,
        settings: DistillSettings,
        steps: int,
        start: dict | None = None,
        constant: float = 0.0,
    ):
        self.settings, self.steps, self.step = settings, steps, 0
        self.constant, self.share = constant, 1.0  # of the learning rate
        self.on_picture = guider.on_picture
        kind = loss_kind(guider.info.kind, settings.depth_loss)
        self.loss = loss_function(kind, settings.temperature)
        self.student = Student(guider.backbone, settings.adapter)
        if start:
            self.student.load(start)
        if settings.channels_last:
            self.student.to(memory_format=torch.channels_last)
        self.student = synchronise_norms(self.student)
        self.device = self.student.trainable()[0].device
        self.ema = self.student.tensors() if settings.ema_decay else None
        self.optimizer = torch.optim.AdamW(
            self.student.trainable(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        half = settings.precision == "fp16" and self.device.type != "cpu"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.student.train()
        self.is_whole = True  # not in the middle of an optimiser step

    def answer(self, image: Tensor, sides: tuple[int, int]) -> Tensor:
        """The student's answer in float32 to `image`, as of a Piece."""
        if self.settings.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            answer = self.student(image).float()
        return self.on_picture(answer, sides)

    def _autocast(self):
        dtype = PRECISIONS.get(self.settings.precision)
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()

    def learn(self, pieces: list[Piece]) -> Tensor:
        """One optimiser step on the pieces of a batch; the loss, over all processes.

        A loss that is not finite changes nothing, nor does what ends a pass.
        """
        statistics = [buffer.clone() for buffer in self.student.statistics()]
        try:
            total = self._backward(pieces)
        except BaseException:
            self._put_back(statistics)
            raise
        if not total.isfinite():
            self._put_back(statistics)
            return total
        if self.step == 0 and self.settings.rate_by_loss:
            self.share = share_of_rate(total.item(), self.constant)
        self.is_whole = False
        self._step()
        self.is_whole = True
        return total

    def _backward(self, pieces: list[Piece]) -> Tensor:
        """The gradients of a batch, in the parameters' `grad`, and its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for piece in pieces:
            loss = piece.weight * self.loss(self.answer(piece.image, piece.sides), piece.answer)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return average_gradients(self.student.trainable(), total)

    def _put_back(self, statistics: list[Tensor]) -> None:
        """What a forward pass has changed."""
        with torch.no_grad():
            for buffer, before in zip(self.student.statistics(), statistics, strict=True):
                buffer.copy_(before)

    def _step(self) -> None:
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.student.trainable(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.share * self._decay()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self._update_ema()

    def _decay(self) -> float:
        """Linear warm-up, then a half cosine down to 0."""
        warm = min(1.0, (self.step + 1) / max(1, self.settings.warm_up_steps))
        return warm * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))

    def _update_ema(self) -> None:
        if self.ema:
            decay = min(self.settings.ema_decay, self.step / (self.step + 10))
            for key, value in self.student.tensors().items():
                self.ema[key].lerp_(value, 1 - decay)

    def adapter(self) -> dict[str, Tensor]:
        """A copy of the expert as it stands, under peft's keys; its averaged weights, if kept."""
        if self.ema:
            return {key: value.clone() for key, value in self.ema.items()}
        return self.student.tensors()

    def state(self) -> dict[str, Tensor]:
        tensors = {f"student/{key}": value for key, value in self.student.tensors().items()}
        tensors["share"] = torch.tensor(self.share, dtype=torch.float64)
        tensors |= {f"ema/{key}": value for key, value in (self.ema or {}).items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": v.cpu() for name, v in moments.items()}
        if self.scaler.is_enabled():
            scale = self.scaler.state_dict()
            values = [scale["scale"], scale["_growth_tracker"]]
            tensors["scaler/state"] = torch.tensor(values, dtype=torch.float64)
        return tensors

    def load(self, state: dict[str, Tensor], step: int) -> None:
        """Resume from `state`, as `state()` gave it after `step` steps."""
        self.step, self.share = step, state["share"].item()
        self.student.load(_under(state, "student/"))
        if self.ema:
            self.ema = {key: value.clone() for key, value in _under(state, "ema/").items()}
        moments: dict[int, dict] = {}
        for key, value in _under(state, "optimizer/").items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if "scaler/state" in state:
            scale, tracker = state["scaler/state"].tolist()
            saved = {"scale": scale, "_growth_tracker": int(tracker)}
            self.scaler.load_state_dict({**self.scaler.state_dict(), **saved})


def share_of_rate(loss: float, constant: float) -> float:
    """How much of the learning rate, if a student begins with `loss`; a constant one's: `constant`.

    Losses are squares of errors, near 0. A student that errs little has little to move: by the full
    rate it would lose more in its first steps than it has to learn. One batch tells it roughly, so
    the share is LEAST_SHARE or more.
    """
    if not 0 < constant < math.inf:
        return 1.0
    return min(1.0, max(LEAST_SHARE, math.sqrt(max(0.0, loss) / constant)))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
