"""One guided step of a model of full size: seconds, and how much memory guidance takes."""

import gc
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from ppap_core.guidance_run import GuidanceRun
from ppap_core.peak_memory import Tally


class Spent(NamedTuple):
    """Of one guided evaluation: seconds, those of guidance among them, and guidance's bytes."""

    seconds: float
    guiding: float
    num_bytes: int


def is_on_gpu() -> bool:
    """Whether ComfyUI computes on one."""
    import comfy.model_management

    return comfy.model_management.get_torch_device().type == "cuda"


def device_name() -> str:
    """As the tables call it."""
    return torch.cuda.get_device_name() if is_on_gpu() else "CPU"


class Stopwatch:
    """Adds up the seconds of what runs in it: of the processor, or of a GPU until it is done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = self._now()
        try:
            yield
        finally:
            self.seconds += self._now() - start

    @staticmethod
    def _now() -> float:
        if not is_on_gpu():
            return time.process_time()  # others may use the machine
        torch.cuda.synchronize()
        return time.perf_counter()


class RealTally(Tally):
    """Counts no tensors without numbers: guidance plans its memory with them."""

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage.device.type != "meta":
            super()._count(storage)


class Memory(AbstractContextManager):
    """The most bytes that tensors took so far; on a CPU without those that were there before."""

    def __init__(self) -> None:
        known = (thing for thing in gc.get_objects() if issubclass(type(thing), Tensor))
        self._tally = None if is_on_gpu() else RealTally(known)

    def __enter__(self) -> "Memory":
        if self._tally is None:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._tally.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._tally is not None:
            self._tally.__exit__(*error)

    def most(self) -> int:
        return self._tally.most if self._tally else torch.cuda.max_memory_allocated()


def step(model, prompt: list, shape: tuple[int, ...], batch: int, cfg: float) -> Spent:
    """One step of the guided `model`, for `batch` latents of `shape`. `prompt`: CONDITIONING."""
    from comfy.patcher_extension import WrappersMP

    from ppap_core.comfy_bridge.sampling import sample_seeds

    whole, guiding, memory, before = Stopwatch(), Stopwatch(), Memory(), []
    shift = GuidanceRun.shift

    def evaluate(executor, *args, **kwargs):
        with whole.running():
            return executor(*args, **kwargs)

    def timed_shift(*args, **kwargs):
        before.append(memory.most())
        with guiding.running():
            return shift(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "evidence", evaluate)
    prompts = {"positive": prompt, "negative": prompt}
    settings = {"steps": 1, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    with patch.object(GuidanceRun, "shift", timed_shift), torch.inference_mode(), memory:
        sample_seeds(watched, list(range(batch)), shape, **settings, **prompts)
    return Spent(whole.seconds, guiding.seconds, memory.most() - before[0])
