"""A folder of generated images: PNGs a person can look through, latents, and manifest.jsonl.

One line per image gives all it takes to sample it again. Deleting a PNG takes it out of the
training set. `source.json` names the checkpoint that the images are from. A folder without a
manifest may hold pictures of any usual format.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy
import torch
from torch import Tensor

from ..atomic import naming, replace_file
from ..errors import SettingError, one_line
from ..files_below import files_below
from ..picture_files import SUFFIXES, read_picture
from ..pixels import image_to_pil
from ..text_files import read_json, read_lines
from .checksums import open_rows, seal, unseal

SOURCE = "source.json"
RECIPE = ("checkpoint", "width", "height", "steps", "cfg", "sampler_name", "scheduler")
NUM_NAMED = 8  # of the pictures that were left out, with their reasons

LeftOut = dict[str, str]  # file -> why it was left out

log = logging.getLogger(__name__)


def save_png(image: Tensor, path: Path) -> None:
    """`image`: (3, H, W) in [-1, 1]."""
    with replace_file(path) as partial:
        # 6, the default, takes three times as long for a tenth less.
        image_to_pil(image).save(partial, format="PNG", compress_level=3)


def append_manifest(folder: Path, lines: list[dict], rank: int = 0) -> None:
    """Add `lines`; each process writes a file of its own."""
    path = folder / (f"manifest.{rank}.jsonl" if rank else "manifest.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("a+b") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # a killed run's last, broken line ends here
        file.write("".join(json.dumps(seal(line)) + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> list[dict]:
    """The lines of every manifest, by seed; broken lines (of a killed run) are skipped."""
    lines = {}
    for path in sorted(folder.glob("manifest*.jsonl")):
        num_broken = 0
        for text in filter(str.strip, read_lines(path)):
            try:
                line = unseal(json.loads(text))
            except (ValueError, RecursionError):
                num_broken += 1
            else:
                lines[line["file"]] = line
        if num_broken:
            log.warning("%s: skipped %d broken lines", path, num_broken)
    return sorted(lines.values(), key=lambda line: line.get("seed", 0))


def read_source(folder: Path) -> dict:
    """What `write_source` wrote, or nothing. ValueError if it holds something else."""
    path = folder / SOURCE
    if not path.is_file():
        return {}
    source = read_json(path)
    try:
        return unseal(source)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged: delete it, or generate the pictures again") from None


def write_source(folder: Path, source: dict) -> None:
    with replace_file(folder / SOURCE) as partial:
        partial.write_text(json.dumps(seal(source), indent=1) + "\n", encoding="utf-8")


def check_source(folder: Path, fingerprint: str, force: bool = False) -> None:
    """ValueError if the images in `folder` are from another checkpoint, unless forced."""
    source = read_source(folder)
    made_by = source.get("fingerprint", fingerprint)
    if made_by != fingerprint and not force:
        raise SettingError(
            f"the images in {folder} are from {source.get('checkpoint', 'another checkpoint')} "
            f"({made_by[:12]}), not from this model ({fingerprint[:12]})",
            name="choose another name",
            images="choose another folder",
            force="force the use of this one",
        )


def find_images(folder: Path) -> list[dict]:
    """The manifest's lines whose picture is still there; without a manifest, every picture.

    ValueError if there is none.
    """
    lines = read_manifest(folder) or [
        {"file": path.relative_to(folder).as_posix(), "seed": 0}
        for path in files_below(folder)
        if path.suffix.lower() in SUFFIXES
    ]
    lines = [line for line in lines if (folder / line["file"]).is_file()]
    if not lines:
        raise ValueError(f"no images in {folder}: generate them first")
    return lines


def recipe_of(line: dict) -> dict:
    """How a picture of the manifest was sampled, in common with those of its batch."""
    return {name: line[name] for name in RECIPE if name in line}


def read_images(
    folder: Path, lines: Sequence[dict], left_out: LeftOut | None = None
) -> Iterator[tuple[dict, Tensor | None]]:
    """Each line with its picture, (3, H, W) uint8, as a person sees it (`read_picture`).

    None where it cannot be read, which is noted in `left_out`. ValueError if the pictures are not
    all of one size; without `left_out`, also for one that cannot be read.
    """
    size = None
    for line in lines:
        try:
            image = torch.from_numpy(numpy.array(read_picture(folder / line["file"])))
        except ValueError as error:
            _leave_out(left_out, line["file"], str(error))
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
    lines, left_out = find_images(folder), {}
    images = [image for _, image in read_images(folder, lines, left_out) if image is not None]
    check_left_out(folder, len(images), len(lines), left_out)
    return torch.stack(images)


def check_left_out(folder: Path, num_used: int, total: int, left_out: LeftOut) -> None:
    """Say in one line which of `total` pictures were left out, and why. ValueError if none is used.

    `left_out`: those that this process found; an earlier one may have named others.
    """
    if num_used and not left_out:
        return
    shown = [f"{file}: {reason}" for file, reason in islice(left_out.items(), NUM_NAMED)]
    more = f"; and {len(left_out) - NUM_NAMED} more" if len(left_out) > NUM_NAMED else ""
    text = "; ".join(shown) + more
    if not num_used:
        reasons = f": {text}" if text else ""
        raise ValueError(f"none of the {total} pictures in {folder} can be used{reasons}")
    log.warning("%d of %d pictures in %s were left out: %s", len(left_out), total, folder, text)


def _leave_out(left_out: LeftOut | None, file: str, reason: str) -> None:
    if left_out is None:
        raise ValueError(f"{file}: {reason}")
    left_out[file] = reason


def read_latent(folder: Path, line: dict, left_out: LeftOut | None = None) -> Tensor | None:
    """The latent of one image, (C, ...), as ComfyUI's LATENT holds it.

    None if it is damaged, which is noted in `left_out`; without that, ValueError.
    """
    path = folder / line["latent"]
    try:
        with open_rows(path, recipe_of(line)) as file:
            return file.read(str(line["seed"]))
    except ValueError as error:
        reason = f"its latent in {line['latent']}: {one_line(error)}"
        _leave_out(left_out, line["file"], reason)
        return None
