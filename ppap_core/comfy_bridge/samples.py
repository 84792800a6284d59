"""Sample pictures while a training learns, as long as they cost little of its time."""

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from PIL import Image

from ..distillation.distill import Progress
from ..distillation.rows import Rows
from ..errors import one_line
from ..reading import Reading
from .cancel import cancellable
from .loaded_guider import LoadedGuider
from .preview import sample_learned

if TYPE_CHECKING:
    from .trainer import Trainer

MOST = 4  # pictures of a sample
LONGEST = 60.0  # seconds of a sample, as long as it is more than one picture
EVERY = 180.0  # seconds between two samples, except after an expert
SHARE = 0.05  # of the training's time

log = logging.getLogger(__name__)


class Samples:
    """One after each expert and every few minutes, as long as all take no more than SHARE of the
    time since this was made.

    `show` gets each sheet. `picture_seconds`: to sample one picture without guidance.
    """

    def __init__(self, show: Callable[[Image.Image], None], picture_seconds: float):
        guided = 2 * picture_seconds  # about, until one was sampled
        self.show, self.num = show, max(1, min(MOST, int(LONGEST / max(guided, 1e-3))))
        self._expected, self._spent = self.num * guided, 0.0
        self._began, self._last = time.monotonic(), math.inf
        self._is_awaited = False

    def are_due(self, progress: Progress, num_experts: int) -> bool:
        """Whether to sample after this step. Not after the last one: the preview follows."""
        phase, now = progress.phase, time.monotonic()
        self._last = min(self._last, now)  # minutes count from the first step on
        ended = progress.step == phase.steps
        if ended and phase.expert == num_experts - 1:
            return False
        self._is_awaited |= ended or now - self._last >= EVERY
        return self._is_awaited and self._spent + self._expected <= SHARE * (now - self._began)

    def sample(self, trainer: "Trainer", view: str, answers: Rows, progress: Progress) -> None:
        """Make one and show it. The random numbers of the training stay as they are.

        If it fails, a warning, and no more are made. `answers`: as of `sample_learned`.
        """
        start = time.monotonic()
        guider = LoadedGuider(trainer.guider, trainer.patcher, progress.learned())
        reading = Reading(trainer.distill.input, view)
        title = f"expert {len(guider.experts)} of {trainer.distill.num_experts}"
        step = f"step {progress.step} of {progress.phase.steps}"
        try:
            with torch.random.fork_rng(), cancellable(*trainer.checkpoint.networks()):
                target = guider, reading, answers, self.num
                sheet = sample_learned(trainer.checkpoint, *target, trainer.sampler_of, title, step)
            self.show(sheet)
        except (ValueError, RuntimeError) as error:
            log.warning("no more pictures while it learns: %s", one_line(error))
            self._expected = math.inf
        else:
            self._expected = time.monotonic() - start
        finally:
            trainer.load_for_learning()
        self._last = time.monotonic()
        self._spent += self._last - start
        self._is_awaited = False
