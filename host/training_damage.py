"""Damage one file of a half-done training and go on with it: `host.mutations` counts the ends.

It works, or is refused in one line. It never hangs, never loses a picture without a word, and never
changes a file that a person put there.
"""

import io
import json
import logging
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from host.damage import OF_SAFETENSORS, mutate_bytes, mutate_json
from host.trainings import CONFIG, KINDS, OUT, PICTURES, Stopped, half_done, train
from ppap_core.errors import SettingError
from ppap_core.guiders import Guider

SECONDS = 6.0  # after which a training that makes progress is stopped
GROWING = ("manifest.jsonl",)  # files to which a training adds


def mutate_lines(data: bytes, generator: random.Random) -> bytes:
    """One line is lost, doubled, moved, joined with the next, or another is put in."""
    lines = data.splitlines(keepends=True)
    place = generator.randrange(len(lines))
    other = generator.choice(
        (b"{}\n", b"[1]\n", b",,,\n", b"a;b\n", b"\xff\xfe\n", b'{"file": 3}\n')
    )
    chosen = {
        "lose": lambda: lines[:place] + lines[place + 1 :],
        "double": lambda: [*lines[:place], lines[place], *lines[place:]],
        "move": lambda: [*lines[:place], *lines[place + 1 :], lines[place]],
        "join": lambda: [*lines[:place], lines[place].rstrip(), *lines[place + 1 :]],
        "other": lambda: [*lines[:place], other, *lines[place:]],
    }
    return b"".join(chosen[generator.choice(list(chosen))]())


def mutate_encoding(data: bytes, generator: random.Random) -> bytes:
    """The same text as another editor would save it."""
    text = data.decode("utf-8", "replace")
    ways: list[Callable[[], bytes]] = [
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: text.encode("utf-8-sig"),
        lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("a", "ä").encode("latin-1", "replace"),
        lambda: text.replace(",", ";").encode(),
        lambda: text.encode() + b"\0\0",
        lambda: b"",
    ]
    return generator.choice(ways)()


def mutate_json_lines(data: bytes, generator: random.Random) -> bytes:
    lines = data.decode().splitlines()
    place = generator.randrange(len(lines))
    lines[place] = json.dumps(mutate_json(json.loads(lines[place]), generator))
    return ("\n".join(lines) + "\n").encode()


def mutate_toml(data: bytes, generator: random.Random) -> bytes:
    """One setting or section is lost or gets a value of any kind."""
    import tomllib  # Python 3.11 has it, as --config needs

    changed = mutate_json(tomllib.loads(data.decode()), generator)
    if not isinstance(changed, dict):
        return json.dumps(changed).encode()
    lines = []
    for name, section in changed.items():
        if isinstance(section, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(v)}" for key, v in section.items())]
        else:
            lines.insert(0, f"{name} = {json.dumps(section)}")
    return ("\n".join(lines) + "\n").encode()


def mutate_picture(data: bytes, generator: random.Random) -> bytes:
    """Another kind of picture under the same name."""
    image = Image.open(io.BytesIO(data))
    ways: list[Callable[[], tuple[Image.Image, str]]] = [
        lambda: (image, "JPEG"),
        lambda: (image, "BMP"),
        lambda: (image, "GIF"),
        lambda: (image.resize((31, 40)), "PNG"),
        lambda: (image.convert("L").convert("I;16"), "PNG"),
        lambda: (image.convert("RGBA"), "PNG"),
        lambda: (image.convert("1"), "PNG"),
        lambda: (image.resize((1, 1)), "PNG"),
    ]
    changed, kind = generator.choice(ways)()
    file = io.BytesIO()
    changed.save(file, format=kind)
    return file.getvalue()


OF_TEXT = (mutate_bytes, mutate_lines, mutate_encoding)
WAYS = {
    ".png": (mutate_bytes, mutate_picture),
    ".safetensors": OF_SAFETENSORS,
    ".jsonl": (*OF_TEXT, mutate_json_lines),
    ".json": (*OF_TEXT, mutate_json_lines),
    ".toml": (*OF_TEXT, mutate_toml, mutate_toml),
    ".csv": OF_TEXT,
    ".txt": OF_TEXT,
}


def damage(folder: Path, generator: random.Random) -> Path:
    """Change one file, or put nothing or a folder in its place; returns its path."""
    kinds = sorted({path.suffix for path in folder.rglob("*") if path.suffix in WAYS})
    kind = generator.choice(kinds)
    file = generator.choice(sorted(p for p in folder.rglob(f"*{kind}") if p.is_file()))
    chance = generator.random()
    if chance < 0.03:
        file.unlink()
    elif chance < 0.06:
        file.unlink()
        file.mkdir()
    else:
        data = file.read_bytes()
        if kind == ".json":  # a single value over several lines
            data = json.dumps(json.loads(data)).encode() + b"\n"
        file.write_bytes(generator.choice(WAYS[kind])(data, generator))
    return file


def check_training(number: int, folder: Path, _: Guider) -> None:
    """Damage a training and go on with it: ValueError, or it works for some seconds."""
    generator = random.Random(number)
    case = folder / "one" / "two"  # a damaged path may lead upwards
    shutil.copytree(half_done(generator.choice(list(KINDS))), case)
    damage(case, generator)
    before = _contents(case)
    with _warnings() as said:
        try:
            _go_on(case, said)
        finally:
            _check_kept(before, case)


def _go_on(case: Path, said: list[str]) -> None:
    stop = time.monotonic() + SECONDS

    def watch(_: str) -> None:
        if time.monotonic() > stop:
            raise Stopped

    try:
        data = train(case, watch)
    except Stopped:
        return
    except ValueError as error:
        if type(error) not in (ValueError, SettingError):  # json's words, say, name no file
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    except OSError as error:
        if error.filename is None:
            raise
        raise ValueError(str(error)) from error  # the system's own words, with the file
    except (RuntimeError, torch.OutOfMemoryError) as error:
        if "allocate memory" in str(error) or str(error).startswith("the loss is"):
            raise ValueError("out of memory, or a loss that is not finite") from error
        raise
    there = sum(path.is_file() for path in (case / PICTURES).rglob("*.png"))
    lost = there - len(data)
    told = any(words in line for line in said for words in ("skipped", "left out"))
    assert lost <= 0 or told, f"{lost} pictures lost silently"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """All that is logged as a warning."""
    said: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Notes(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)


def _contents(case: Path) -> dict[Path, bytes]:
    """What a training must not change: settings, labels, prompts, pictures and their estimates."""
    own = [case / CONFIG, case / "labels.csv", case / "prompts.txt", case / OUT]
    files = [path for path in (*own, *(case / PICTURES).rglob("*")) if path.is_file()]
    return {path: path.read_bytes() for path in files}


def _check_kept(before: dict[Path, bytes], case: Path) -> None:
    for path, data in before.items():
        if path == case / OUT:
            continue
        assert path.is_file(), f"{path.name} is gone"
        now = path.read_bytes()
        kept = now.startswith(data) if path.name in GROWING else now == data
        assert kept, f"{path.name} was overwritten"
