"""Progress of a training: bars in the terminal, curves in TensorBoard."""

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from ppap_core.distillation.distill import Progress
from ppap_core.distillation.phases import plan_phases
from ppap_core.distillation.progress import LEARNING, TimeLeft, duration, name_of, steps_left
from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.workers import rank

if TYPE_CHECKING:
    from ppap_core.comfy_bridge.samples import Samples
    from ppap_core.comfy_bridge.trainer import Trainer

log = logging.getLogger(__package__)


class Bar:
    """A progress bar that only the first process shows."""

    def __init__(self, description: str, total: int, done: int, unit: str):
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=description,
            unit=unit,
            disable=rank() > 0,
            dynamic_ncols=True,
            mininterval=0.5,
        )

    def advance(self, num: int = 1) -> None:
        self.bar.update(num)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()


class Watcher:
    """Watches `distill`: a bar per noise range, TensorBoard, and a clean stop at Ctrl+C."""

    def __init__(self, folder: Path, settings: DistillSettings):
        self.folder, self.settings = folder, settings
        self.steps = sum(phase.steps for phase in plan_phases(settings))
        self.left, self.time = self.steps, TimeLeft({LEARNING: self.steps}, {LEARNING: 0.0})
        self.bar: Bar | None = None
        self.phase = None
        self.stopped = False
        self.board = self._tensorboard() if rank() == 0 else None

    def _tensorboard(self):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("no TensorBoard curves: pip install tensorboard")
            return None
        return SummaryWriter(str(self.folder / "tensorboard"))

    def __call__(self, progress: Progress) -> None:
        if progress.phase is not self.phase:
            self._open(progress)
        self.bar.advance()
        self.left = steps_left(progress, self.settings)
        self.time.reached(LEARNING, self.left)
        self.bar.bar.set_postfix(
            all=f"{duration(self.time.seconds())} left",
            loss=f"{progress.loss:.3f}",
            images=f"{progress.images_per_second:.0f}/s",
            data=f"{progress.data_share:.0%}",
            refresh=False,
        )
        if self.board and progress.step % 10 == 0:
            step = self.steps - self.left
            name = f"loss/{progress.phase.noise_range}"
            self.board.add_scalar(name, progress.loss, progress.step)
            self.board.add_scalar("loss/all", progress.loss, step)
            self.board.add_scalar("images per second", progress.images_per_second, step)
        if self.stopped:
            raise KeyboardInterrupt

    def samples_of(self, trainer: "Trainer") -> "Samples | None":
        """Sample pictures for TensorBoard, where there is one."""
        if not self.board:
            return None
        from ppap_core.comfy_bridge.samples import Samples
        from ppap_core.comfy_bridge.trial import picture_seconds

        return Samples(self.show, picture_seconds(trainer))

    def show(self, sheet: Image.Image) -> None:
        pixels, step = np.asarray(sheet), self.steps - self.left
        self.board.add_image("sample", pixels, step, dataformats="HWC")

    def _open(self, progress: Progress) -> None:
        if self.bar:
            self.bar.bar.close()
        self.phase = progress.phase
        description = name_of(progress.phase, self.settings.num_experts)
        self.bar = Bar(description, progress.phase.steps, progress.step - 1, "step")

    def __enter__(self) -> "Watcher":
        self.former = signal.signal(signal.SIGINT, self._stop)
        return self

    def _stop(self, *_) -> None:
        """Ctrl+C: finish this step, save the state, then stop. A second Ctrl+C stops at once."""
        self.stopped = True
        signal.signal(signal.SIGINT, self.former)

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self.former)
        if self.bar:
            self.bar.bar.close()
        if self.board:
            self.board.close()
