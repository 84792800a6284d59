"""A tiny training on the demo's models, which tests break: twenty pictures, four steps.

It is what `python -m training all` does, with a watcher that can stop it.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from demo.paths import GUIDER, PIXEL_MODEL
from demo.shapes import SHAPES

if TYPE_CHECKING:
    from ppap_core.distillation.training_set import TrainingSet

CONFIG, OUT, PICTURES, RUN = "training.toml", "experts.safetensors", "pictures", "run"
NUM, STEPS = 20, 4
KINDS = {  # what is added to TEXT
    "x_t": "",
    "x0_hat": 'input = "x0_hat"\nestimates = "kept"\n',
    "labels": "",
}
TEXT = """[sources]
checkpoint = {checkpoint}
guider = {guider}

[files]
out = "experts.safetensors"
images = "pictures"
run = "run"
{labels}
[generate]
num_images = 20
width = 32
height = 32
steps = 3
batch_size = 5
num_estimates = 3
prompts = "prompts.txt"

[adapter]
rank = 2

[distill]
num_experts = 1
steps = 4
warm_up_steps = 1
batch_size = 4
num_heldout = 2
{distill}"""


class Stopped(BaseException):
    """A watcher stopped the training. Not an Exception: nothing may take it for a fault."""


def write_config(folder: Path, kind: str) -> None:
    """The settings of the training, and the files that they name. `kind`: one of KINDS."""
    text = TEXT.format(
        checkpoint=_quoted(PIXEL_MODEL),
        guider=_quoted(GUIDER),
        labels='labels = "labels.csv"\n' if kind == "labels" else "",
        distill=KINDS[kind],
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(text, "utf-8")
    (folder / "prompts.txt").write_text("a cone\na torus\n", "utf-8")
    names = [f"images/{seed:07d}.png,{SHAPES[seed % len(SHAPES)]}\n" for seed in range(NUM)]
    (folder / "labels.csv").write_text("".join(names), "utf-8")


def _quoted(path: Path) -> str:
    return f"'{path}'"  # TOML's literal text


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working folder is `folder`; contextlib.chdir is younger than Python 3.10."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def train(folder: Path, watch: Callable[[str], None] = lambda stage: None) -> "TrainingSet":
    """The whole training in `folder`, or what is left of it; the pictures that it used.

    `watch` is called with "generate", "teacher" or "distill" after each piece of work, and with
    "data" once all pictures were read.
    """
    from training.__main__ import build_parser, check_given, load_trainer
    from training.config import read_config

    with inside(folder):
        config = read_config(build_parser().parse_args(["all", "--config", CONFIG]))
        check_given("all", config)
        config.files.check_out()
        trainer = load_trainer(config)
        with trainer.working():
            trainer.generate_pictures(lambda num: watch("generate"))
            data = trainer.training_set(lambda num: watch("teacher"))
            watch("data")
            trainer.train(data, lambda progress: watch("distill"))
    return data


def stop_at(stage: str, number: int) -> Callable[[str], None]:
    """A watcher that stops the training at the piece of work of this number."""
    seen = []

    def watch(at: str) -> None:
        seen.append(at)
        if seen.count(stage) == number:
            raise Stopped

    return watch


@cache
def half_done(kind: str) -> Path:
    """The folder of a training that was stopped half-way; it lasts as long as this process."""
    base = Path(tempfile.mkdtemp(prefix="ppap-training-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    write_config(base / kind, kind)
    try:
        train(base / kind, stop_at("distill", STEPS // 2))
    except Stopped:
        return base / kind
    raise AssertionError("the training ended before it was stopped")
