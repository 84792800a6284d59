"""A folder of generated images: PNGs a person can look through, and manifest.jsonl.

One line per image gives all it takes to draw it again. Whoever deletes a PNG takes it out of the
training set.
"""

import json
import logging
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor

MANIFEST = "manifest.jsonl"


def save_png(image: Tensor, path: Path) -> None:
    """`image`: (3, H, W) in [-1, 1]."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(path)


def append_manifest(folder: Path, lines: list[dict]) -> None:
    with (folder / MANIFEST).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def read_manifest(folder: Path) -> list[dict]:
    path = folder / MANIFEST
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def load_images(folder: Path) -> Tensor:
    """Every image of the manifest that is still there: (N, 3, H, W) uint8.

    Pictures that cannot be read are skipped and named. ValueError if none is left, or if they
    are not all of one size.
    """
    images = []
    for line in read_manifest(folder):
        path = folder / line["file"]
        try:
            images.append(torch.from_numpy(numpy.array(Image.open(path).convert("RGB"))))
        except FileNotFoundError:
            continue
        except OSError as error:
            logging.warning("skipped %s: %s", path, error)
    if not images:
        raise ValueError(f"no images in {folder}: run 'python -m training generate' first")
    if len(sizes := {f"{image.shape[1]} x {image.shape[0]}" for image in images}) > 1:
        raise ValueError(f"images of different sizes in {folder}: {', '.join(sorted(sizes))}")
    return torch.stack(images).permute(0, 3, 1, 2).contiguous()


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
