"""What guidance costs beside models of the size that people have.

`python -m evidence.full_size` measures one guided step for each way to read, with random weights in
real layouts (full_size_models.py), and writes docs/evidence/full_size.csv and full_size.md. `ratio`
is a guided step over an unguided one, both of the same evaluation: all of it, and without the time
that guidance took. `extra_gb` is the most memory that the tensors of guidance take beyond what the
model's own pass took before, without weights. Rows that are in the CSV already are not measured
again: stop it at any time, and run the same command to resume.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch

from evidence.flags import add_output
from evidence.full_size_models import GUIDER, UNETS, FullSize, load_full_size
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.guidance_run import GuidanceRun
from ppap_core.peak_memory import Tally
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

READINGS = (  # input, view, Jacobian, CFG
    ("x0_hat", "taesd", "none", 1.0),
    ("x0_hat", "vae", "none", 1.0),
    ("x0_hat", "taesd", "jvp", 1.0),
    ("x_t", "linear_rgb", "", 1.0),
    ("x0_hat", "vae", "none", 7.0),
    ("x0_hat", "taesd", "jvp", 7.0),
    ("x_t", "taesd", "", 1.0),
    ("x0_hat", "taesd", "backprop", 1.0),
)


class Spent(NamedTuple):
    """Of one guided evaluation: seconds, those of guidance among them, and guidance's bytes."""

    seconds: float
    guiding: float
    num_bytes: int


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
        if not torch.cuda.is_available():
            return time.process_time()  # others may use the machine
        torch.cuda.synchronize()
        return time.perf_counter()


class Memory(AbstractContextManager):
    """The most bytes that tensors took so far, without weights."""

    def __init__(self, loaded: FullSize):
        networks = loaded.model.model, loaded.vae.first_stage_model, loaded.guider.guider
        weights = [tensor for n in networks for tensor in (*n.parameters(), *n.buffers())]
        self._tally = None if torch.cuda.is_available() else Tally(weights)

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


def step(loaded: FullSize, model, size: int, batch: int, cfg: float) -> Spent:
    """One step of the guided `model`."""
    from comfy.patcher_extension import WrappersMP

    from ppap_core.comfy_bridge.sampling import sample_seeds

    whole, guiding, memory, before = Stopwatch(), Stopwatch(), Memory(loaded), []
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
    prompts = {"positive": loaded.prompt, "negative": loaded.prompt}
    settings = {"steps": 1, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
    shape = (4, size // 8, size // 8)
    with patch.object(GuidanceRun, "shift", timed_shift), torch.inference_mode(), memory:
        sample_seeds(watched, list(range(batch)), shape, **settings, **prompts)
    return Spent(whole.seconds, guiding.seconds, memory.most() - before[0])


def guided(loaded: FullSize, reading: Reading, jacobian: str):
    from ppap_core.comfy_bridge.guide import guide

    target = ClassTarget({4: 1.0}, len(loaded.guider.guider.info.labels))
    options = {"reading": reading, "vae": loaded.vae} | ({"jacobian": jacobian} if jacobian else {})
    return guide(loaded.model, loaded.guider, target, Strength(1.0), **options)


def rows_of(path: Path) -> list[dict]:
    """Those that were measured before."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        numbers = ("ratio", "extra_gb")
        return [r | {n: float(r[n]) for n in numbers} for r in csv.DictReader(file)]


def measure(name: str, size: int, batch: int, output: Path) -> None:
    """Every reading that has no row yet, one after the other."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rows, loaded = rows_of(output.with_suffix(".csv")), None
    for guider_input, view, jacobian, cfg in READINGS:
        case = {"model": name, "size": str(size), "batch": str(batch), "cfg": f"{cfg:g}"}
        case |= {"input": guider_input, "view": view, "jacobian": jacobian}
        case |= {"guider": GUIDER, "device": device}
        if any(case.items() <= row.items() for row in rows):
            continue
        loaded = loaded or load_full_size(name)
        model = guided(loaded, Reading(guider_input, view), jacobian)
        spent = step(loaded, model, size, batch, cfg)
        ratio = spent.seconds / (spent.seconds - spent.guiding)
        rows.append(case | {"ratio": ratio, "extra_gb": spent.num_bytes / 1e9})
        sys.stdout.write(write_table(rows, output).splitlines()[-1] + "\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=UNETS, default="SD1.5")
    parser.add_argument("--size", type=int, default=512, help="pixels per side")
    parser.add_argument("--batch", type=int, default=1, help="pictures")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default=None, help="default: a GPU if there is one"
    )
    add_output(parser)
    args = parser.parse_args()
    boot(cpu=None if args.device is None else args.device == "cpu")
    measure(args.model, args.size, args.batch, args.output / "full_size")


if __name__ == "__main__":
    main()
