"""A training under its node: the bar, live text, sample pictures (read in ComfyUI 0.30.0).

The pictures go where KSampler's live previews go, by the bar. Without a front end nobody looks: no
pictures are made, and nothing is measured beforehand.
"""

import time
from collections.abc import Mapping

import comfy.utils
from PIL import Image

from ..distillation.distill import Progress
from ..distillation.evaluate import RangeAgreement
from ..distillation.progress import (
    LEARNING,
    PREVIEW,
    READING,
    SAMPLING,
    TimeLeft,
    duration,
    in_words,
    steps_left,
)
from ..expert_file import ExpertSet
from .cancel import ask_for_cancel
from .live import show_on_node
from .samples import Samples
from .trainer import Trainer
from .trial import left_of, try_out

PAUSE = 0.5  # seconds between two texts


class Board:
    """What the node shows while it trains; asks for ComfyUI's cancel button each time."""

    def __init__(self, trainer: Trainer, seconds: Mapping[str, float]):
        """`seconds`: that one of each part takes, as far as it was measured."""
        self.left, self.settings = left_of(trainer), trainer.distill
        self.pictures, self.found = trainer.generate.num_images, self.left[READING]
        self.time = TimeLeft(self.left, dict.fromkeys(self.left, 0.0) | seconds)
        self.counted = SAMPLING, READING, LEARNING
        self.bar = comfy.utils.ProgressBar(sum(self.left[part] for part in self.counted))
        self._said = 0.0

    def sampled(self, num: int) -> None:
        self._reached(SAMPLING, self.left[SAMPLING] - num)
        self.say(f"{SAMPLING} {self.pictures - self.left[SAMPLING]} of {self.pictures}", not num)

    def read(self, num: int) -> None:
        self._reached(READING, self.left[READING] - num)
        self.say(f"{READING} {self.found - self.left[READING]} of {self.found}", not num)

    def learned(self, progress: Progress) -> None:
        self._reached(LEARNING, steps_left(progress, self.settings))
        self.say(in_words(progress, self.settings.num_experts), progress.step == 1)

    def finish(self, words: str) -> None:
        self.time.reached(PREVIEW, 1)
        self.say(words)

    def _reached(self, part: str, left: int) -> None:
        self.left[part] = max(0, left)
        self.time.reached(part, self.left[part])
        self.bar.update_absolute(self.bar.total - sum(self.left[part] for part in self.counted))
        ask_for_cancel()

    def say(self, words: str, is_new: bool = True) -> None:
        """`words` and the time left. Unless they are new, only after a pause."""
        if is_new or time.monotonic() - self._said >= PAUSE:
            self._said = time.monotonic()
            show_on_node([words, f"about {duration(self.time.seconds())} left of the training"])

    def show(self, sheet: Image.Image) -> None:
        self.bar.update_absolute(self.bar.current, preview=("JPEG", sheet, None))


def train_on_node(trainer: Trainer) -> tuple[ExpertSet, list[RangeAgreement]]:
    """All stages; ComfyUI's cancel button stops any of them."""
    with trainer.working():
        seconds, is_seen = {}, comfy.utils.PROGRESS_BAR_HOOK is not None
        if is_seen:
            show_on_node(["measuring how long the training will take"])
            seconds = try_out(trainer).seconds
        board = Board(trainer, seconds)
        samples = Samples(board.show, seconds[SAMPLING]) if is_seen else None
        board.sampled(0)
        trainer.generate_pictures(board.sampled)
        board.read(0)
        data = trainer.training_set(board.read)
        return trainer.train(data, board.learned, samples=samples, say=board.finish)
