"""The photographs, cropped to squares of one size: those to learn from, and those held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from evidence.photographs.sources import CIFAR, SAMPLES
from ppap_core.atomic import save_safetensors
from ppap_core.picture_files import read_picture

SIDE = 96  # pixels of every picture: three times CIFAR's
EVERY = 5  # of the sample photographs, one of five is held out
CROPS = 6  # of each photograph to learn from
NUM_CIFAR, NUM_CIFAR_HELDOUT = 500, 20  # of each of its ten classes
SMALLEST = 0.6  # a crop's side, of the photograph's shorter one


@dataclass(frozen=True)
class Photographs:
    """All (N, 3, SIDE, SIDE) uint8. `heldout`: by where they are from."""

    learned: Tensor
    heldout: dict[str, Tensor]


def load_photographs(root: Path, cache: Path) -> Photographs:
    """Those in `root`, kept in the file `cache`. ValueError if something is missing there."""
    if not cache.exists():
        for source in (CIFAR, SAMPLES):
            source.check(root)
        save_safetensors(_read(root), cache, {})
    found = load_file(cache)
    return Photographs(found.pop("learned"), found)


def load_large(root: Path, num: int, side: int) -> Tensor:
    """`num` of the sample photographs that are held out: (num, 3, side, side) uint8."""
    samples = sorted((root / SAMPLES.path).glob("*.JPEG"))[::EVERY]
    spread = [samples[i * len(samples) // num] for i in range(num)]
    return _stack(_square(path, side) for path in spread)


def _read(root: Path) -> dict[str, Tensor]:
    samples = sorted((root / SAMPLES.path).glob("*.JPEG"))
    learned, heldout = [p for i, p in enumerate(samples) if i % EVERY], samples[::EVERY]
    pictures = [*_crops(learned), *map(_square, _cifar(root, "train", NUM_CIFAR))]
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    return {
        "learned": _stack(pictures)[order],
        "photographs": _stack(map(_square, heldout)),
        "CIFAR-10": _stack(map(_square, _cifar(root, "test", NUM_CIFAR_HELDOUT))),
    }


def _cifar(root: Path, part: str, num: int) -> Iterator[Path]:
    for folder in sorted((root / CIFAR.path / part).iterdir()):
        yield from sorted(folder.glob("*.jpg"))[:num]


def _crops(paths: Sequence[Path]) -> Iterator[Image.Image]:
    """Random squares, half of them mirrored."""
    random = numpy.random.default_rng(0)
    for path in paths:
        picture = read_picture(path)
        for _ in range(CROPS):
            side = min(picture.size) * random.uniform(SMALLEST, 1)
            left, top = (random.uniform(0, length - side) for length in picture.size)
            box = (left, top, left + side, top + side)
            crop = picture.resize((SIDE,) * 2, Image.Resampling.BICUBIC, box)
            mirrored = random.random() < 0.5
            yield crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop


def _square(path: Path, length: int = SIDE) -> Image.Image:
    """The square in the middle, `length` pixels a side."""
    picture = read_picture(path)
    side = min(picture.size)
    left, top = ((whole - side) / 2 for whole in picture.size)
    box = (left, top, left + side, top + side)
    return picture.resize((length,) * 2, Image.Resampling.BICUBIC, box)


def _stack(pictures) -> Tensor:
    arrays = [torch.from_numpy(numpy.array(picture)) for picture in pictures]
    return torch.stack(arrays).permute(0, 3, 1, 2).contiguous()
