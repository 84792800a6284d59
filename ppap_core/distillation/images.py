"""A folder of generated images: PNGs a person can look through, latents, and manifest.jsonl.

One line per image gives all it takes to sample it again. Deleting a PNG takes it out of the
training set. `source.json` names the checkpoint that the images are from.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..atomic import naming, replace_file
from ..errors import SettingError, one_line
from ..pixels import image_to_pil

SOURCE = "source.json"

log = logging.getLogger(__name__)


def save_png(image: Tensor, path: Path) -> None:
    """`image`: (3, H, W) in [-1, 1]."""
    with replace_file(path) as partial:
        image_to_pil(image).save(partial, format="PNG")


def append_manifest(folder: Path, lines: list[dict], rank: int = 0) -> None:
    """Add `lines`; each process writes a file of its own."""
    path = folder / (f"manifest.{rank}.jsonl" if rank else "manifest.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("a+b") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # a killed run's last, broken line ends here
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> list[dict]:
    """The lines of every manifest, by seed; broken lines (of a killed run) are skipped."""
    lines = {}
    for path in sorted(folder.glob("manifest*.jsonl")):
        for text in path.read_text("utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                lines[line["file"]] = line
            except (json.JSONDecodeError, KeyError, TypeError):
                log.warning("%s: skipped a broken line", path)
    return sorted(lines.values(), key=lambda line: line.get("seed", 0))


def read_source(folder: Path) -> dict:
    """What `write_source` wrote, or nothing."""
    path = folder / SOURCE
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def write_source(folder: Path, source: dict) -> None:
    with replace_file(folder / SOURCE) as partial:
        partial.write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")


def check_source(folder: Path, fingerprint: str, force: bool = False) -> None:
    """ValueError if the images in `folder` are from another checkpoint, unless forced."""
    source = read_source(folder)
    if source and source["fingerprint"] != fingerprint and not force:
        raise SettingError(
            f"the images in {folder} are from {source['checkpoint']} "
            f"({source['fingerprint'][:12]}), not from this checkpoint ({fingerprint[:12]}): "
            f"choose another folder, or force the use of this one",
            "force",
        )


def find_images(folder: Path) -> list[dict]:
    """The manifest's lines whose picture is still there; without a manifest, every picture.

    ValueError if there is none.
    """
    lines = read_manifest(folder) or [
        {"file": path.relative_to(folder).as_posix(), "seed": 0}
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
    ]
    lines = [line for line in lines if (folder / line["file"]).is_file()]
    if not lines:
        raise ValueError(f"no images in {folder}: generate them first")
    return lines


def read_images(folder: Path, lines: Sequence[dict]) -> Iterator[tuple[dict, Tensor | None]]:
    """Each line with its picture, (3, H, W) uint8; None, and a warning, where it cannot be read.

    ValueError if the pictures are not all of one size.
    """
    size = None
    for line in lines:
        path = folder / line["file"]
        try:
            image = torch.from_numpy(numpy.array(Image.open(path).convert("RGB")))
        except (OSError, SyntaxError) as error:  # Pillow calls a broken PNG a SyntaxError
            log.warning("skipped %s: %s", path, one_line(error))
            yield line, None
            continue
        size = size or image.shape
        if image.shape != size:
            raise ValueError(
                f"images of different sizes in {folder}: {line['file']} is {image.shape[1]} x "
                f"{image.shape[0]}, others {size[1]} x {size[0]}"
            )
        yield line, image.permute(2, 0, 1).contiguous()


def load_images(folder: Path) -> Tensor:
    """Every image that is still there and can be read: (N, 3, H, W) uint8."""
    images = [image for _, image in read_images(folder, find_images(folder)) if image is not None]
    if not images:
        raise ValueError(f"none of the images in {folder} can be read")
    return torch.stack(images)


def read_latent(folder: Path, line: dict) -> Tensor | None:
    """The latent of one image, (C, ...), as ComfyUI's LATENT holds it; None if it is damaged."""
    path = folder / line["latent"]
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor(str(line["seed"]))
    except (OSError, SafetensorError) as error:
        log.warning("skipped %s: its latent in %s: %s", line["file"], path, one_line(error))
        return None
