"""Trainings in hard times: disk full, two at once, a clock set back, a read-only folder.

`python -m host.hard_times NAME [--most N]` prints one line. After each of these the same training,
begun again where it stood, has to end with the same expert file, bit for bit.
"""

import argparse
import errno
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from host.trainings import CONFIG, OUT, PICTURES, RUN, STEPS, Stopped, stop_at, train, write_config
from ppap_core.comfy_bridge.headless import PACK_ROOT

KIND = "x0_hat"
SIZES = (0, 200, 2_000, 20_000, 100_000, 400_000)  # bytes: what a file may hold on a full disk
MONTH = 30 * 86_400.0  # seconds


class Writes:
    """Sees every file, folder and renaming below a folder that Python is about to write.

    `refuse`: the error that a write gets, if any, by its number from 1 on and its path.
    """

    def __init__(self) -> None:
        self.below, self.count = "", 0
        self.refuse: Callable[[int, str], OSError | None] = lambda number, path: None
        sys.addaudithook(self._hear)

    @contextmanager
    def refusing(self, folder: Path, refuse: Callable[[int, str], OSError | None]) -> Iterator:
        self.below, self.count, self.refuse = str(folder), 0, refuse
        try:
            yield
        finally:
            self.below = ""

    def _hear(self, event: str, args: tuple) -> None:
        if not self.below or event not in ("open", "os.mkdir", "os.rename"):
            return
        path = args[1] if event == "os.rename" else args[0]
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes) else ""
        if path.startswith(self.below):
            self.count += 1
            if error := self.refuse(self.count, path):
                raise error


def full_disk(path: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class Ends(NamedTuple):
    """How trainings ended that were disturbed and begun again; the faults by name."""

    tried: int
    refused: int
    faults: list[str]

    def __str__(self) -> str:
        right = f"{self.refused} of {self.tried} stopped with one line, the others ended"
        wrong = f"; FAULTS: {'; '.join(self.faults)}" if self.faults else ""
        same = "all of them" if not self.faults else "the rest"
        return f"{right}; begun again {same} gave the same expert file{wrong}"


def new_training(base: Path, name: str) -> Path:
    write_config(base / name, KIND)
    return base / name


def expert_bytes(folder: Path) -> bytes:
    return (folder / OUT).read_bytes()


def attempt(folder: Path) -> str:
    """Train; "" if that ended, else the error in one line. Faults are errors of other kinds."""
    try:
        train(folder)
    except (ValueError, OSError, RuntimeError) as error:  # what the command line says in a line
        return str(error) or type(error).__name__
    return ""


def begin_again(folder: Path, expected: bytes) -> str:
    """What is wrong after the same training has been begun again; "" for nothing."""
    if not (folder / OUT).exists() and (said := attempt(folder)):
        return f"begun again: {said}"
    if expert_bytes(folder) != expected:
        return "another expert file"
    left = [path.name for path in folder.rglob("*.partial*")]
    return f"left over: {', '.join(left)}" if left else ""


def disk_full(base: Path, most: int) -> Ends:
    """The disk is full from the n-th write on, for each n; or holds only short files."""
    writes, whole = Writes(), new_training(base, "whole")
    with writes.refusing(whole, lambda number, path: None):
        train(whole)
        num = writes.count
    expected, refused, faults = expert_bytes(whole), 0, []
    chosen = sorted({1 + round(i * (num - 1) / max(1, most - 1)) for i in range(most)})
    for first in chosen:
        folder = new_training(base, f"write{first}")
        too_late = lambda n, path, first=first: full_disk(path) if n >= first else None  # noqa: E731
        with writes.refusing(folder, too_late):
            said = attempt(folder)
        refused += bool(said)
        if wrong := "\n" in said and "many lines" or begin_again(folder, expected):
            faults.append(f"write {first}: {wrong}")
    for size in SIZES:
        folder = new_training(base, f"size{size}")
        with largest_file(size):
            said = attempt(folder)
        refused += bool(said)
        if wrong := "\n" in said and "many lines" or begin_again(folder, expected):
            faults.append(f"files of {size} bytes: {wrong}")
    return Ends(len(chosen) + len(SIZES), refused, faults)


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `num_bytes`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def two_at_once(base: Path, most: int) -> Ends:
    """Two processes train in one folder; one of them may be refused."""
    train(whole := new_training(base, "whole"))
    expected, refused, faults = expert_bytes(whole), 0, []
    command = [sys.executable, "-m", "training", "all", "--config", CONFIG]
    for number in range(most):
        folder = new_training(base, f"shared{number}")
        environment = os.environ | {"PYTHONPATH": str(PACK_ROOT)}
        pair = [
            subprocess.Popen(
                command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [each.communicate(timeout=900)[1] for each in pair]
        refused += sum(each.returncode != 0 for each in pair)
        faults += [
            f"pair {number}: {text.splitlines()[-1]}" for text in said if "Traceback" in text
        ]
        if wrong := begin_again(folder, expected):
            faults.append(f"pair {number}: {wrong}")
    return Ends(2 * most, refused, faults)


def clock_set_back(base: Path, most: int) -> Ends:
    """A training is stopped, and ended a month earlier in another time zone."""
    train(whole := new_training(base, "whole"))
    expected, generator, faults, stopped = expert_bytes(whole), random.Random(0), [], 0
    for number in range(most):
        folder = new_training(base, f"clock{number}")
        stage, last = generator.choice((("generate", 4), ("distill", STEPS - 1)))
        with local_time("Pacific/Kiritimati", 0.0):
            try:
                train(folder, stop_at(stage, generator.randint(1, last)))
            except Stopped:
                stopped += 1
        for path in folder.rglob("*"):
            os.utime(path, (time.time() + MONTH,) * 2)
        with local_time("America/Anchorage", -MONTH):
            if wrong := begin_again(folder, expected):
                faults.append(f"{stage}: {wrong}")
    return Ends(most, stopped, faults)


@contextmanager
def local_time(zone: str, ahead: float) -> Iterator[None]:
    """The clock of this process is `ahead` seconds fast, in the time zone `zone`."""
    true_time = time.time
    with mock.patch.dict(os.environ, TZ=zone), mock.patch("time.time", lambda: true_time() + ahead):
        time.tzset()
        yield
    time.tzset()


def read_only_folder(base: Path, most: int) -> Ends:
    """The folder of expert files, or that of the run, cannot be written."""
    writes, refused, faults = Writes(), 0, []
    train(whole := new_training(base, "whole"))
    for name in (OUT, RUN, PICTURES)[:most]:
        folder = base / name.partition(".")[0]
        write_config(folder, KIND)
        text = (folder / CONFIG).read_text("utf-8").replace(f'"{name}"', f'"models/{name}"')
        (folder / CONFIG).write_text(text, "utf-8")
        (folder / "models").mkdir()
        read_only = lambda n, path: OSError(errno.EROFS, os.strerror(errno.EROFS), path)  # noqa: E731
        with writes.refusing(folder / "models", read_only):
            said = attempt(folder)
        refused += bool(said)
        sampled = len(list(folder.rglob("*.png")))
        if not said or "\n" in said or sampled:
            faults.append(f"{name}: {said or 'ended'}, after {sampled} pictures")
        write_config(folder, KIND)
        if wrong := begin_again(folder, expert_bytes(whole)):
            faults.append(f"{name}: {wrong}")
    return Ends(min(most, 3), refused, faults)


TIMES: dict[str, tuple[Callable[[Path, int], Ends], str]] = {
    "disk": (disk_full, "train on a disk that is full from the n-th write on"),
    "two": (two_at_once, "train twice at the same time in one folder"),
    "clock": (
        clock_set_back,
        "resume a training a month earlier, in another time zone",
    ),
    "read-only": (read_only_folder, "train into a folder that cannot be written"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=TIMES)
    parser.add_argument("--most", type=int, default=3, help="how often it is tried")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as base:
        sys.stdout.write(f"\n{TIMES[args.name][0](Path(base).resolve(), args.most)}\n")


if __name__ == "__main__":
    main()
