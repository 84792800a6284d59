"""From a folder of pictures to what experts learn from: clean states and the teacher's answers."""

import csv
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..atomic import load_safetensors, save_safetensors
from ..guiders import Guider
from ..targets import find_class
from .distill import TrainingSet, teacher_answers
from .images import find_images, read_images, read_latent
from .losses import label_answers

CHUNK = 64


def build_training_set(
    folder: Path,
    guider: Guider,
    *,
    process_in: Callable[[Tensor], Tensor] | None = None,
    labels: Path | None = None,
    cache: Path | None = None,
    watch: Callable[[int], None] = lambda num: None,
) -> TrainingSet:
    """What `folder` teaches: pictures that cannot be read are left out, counted and named.

    process_in: from ComfyUI's LATENT to the model's own scale; None trains on pixels. labels: a
    CSV of file and class, in place of the teacher's answers. cache: a file that keeps the
    teacher's answers. ValueError if too few pictures are left.
    """
    lines = find_images(folder)
    name = _name(guider, folder, lines, labels)
    cached = _read_cache(cache, name)
    if cached is not None:
        states = [_state(folder, lines[i], process_in) for i in cached["kept"].tolist()]
        watch(len(lines))
        if all(state is not None for state in states):
            return TrainingSet(torch.stack(states), cached["answers"], name)
    kept, states, answers = [], [], []
    for indices, images in _chunks(folder, lines):
        pairs = [
            (i, image, image if process_in is None else _state(folder, lines[i], process_in))
            for i, image in zip(indices, images, strict=True)
            if image is not None
        ]
        pairs = [pair for pair in pairs if pair[2] is not None]
        if pairs:
            kept += [i for i, _, _ in pairs]
            states += [state for _, _, state in pairs]
            answers.append(teacher_answers(guider, torch.stack([image for _, image, _ in pairs])))
        watch(len(indices))
    if skipped := len(lines) - len(kept):
        logging.warning("%d of %d pictures in %s were skipped", skipped, len(lines), folder)
    if not kept:
        raise ValueError(f"none of the {len(lines)} pictures in {folder} can be used")
    answers = torch.cat(answers)
    if labels is not None:
        files = [lines[i]["file"] for i in kept]
        answers = label_answers(read_labels(labels, files, guider), answers.shape[1])
    elif answers.ndim > 2:
        answers = answers.half()
    if cache is not None:
        save_safetensors({"kept": torch.tensor(kept), "answers": answers}, cache, {"name": name})
    return TrainingSet(torch.stack(states), answers, name)


def read_labels(path: Path, files: list[str], guider: Guider) -> Tensor:
    """Class indices (N,) of `files` from a CSV "file,class", classes by name or number."""
    if guider.info.kind != "class":
        raise ValueError(
            f"labels are for classifiers whose classes exclude each other; the guider predicts "
            f"{guider.info.kind}: leave labels out, and its own answers are learned"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row[0].strip(): row[1] for row in csv.reader(file) if len(row) >= 2}
    if missing := [name for name in files if name not in rows]:
        raise ValueError(
            f"{path} has no label for {len(missing)} pictures, the first is {missing[0]}: one line "
            f"per picture, file,class"
        )
    return torch.tensor([find_class(rows[name], guider.info.labels) for name in files])


def _state(folder: Path, line: dict, process_in) -> Tensor | None:
    if process_in is None:
        return next(image for _, image in read_images(folder, [line]))
    if "latent" not in line:
        raise ValueError(
            f"{folder} holds no latents ({line['file']}): let 'generate' draw the pictures"
        )
    latent = read_latent(folder, line)
    return None if latent is None else process_in(latent[None].float())[0].half()


def _chunks(folder: Path, lines: list[dict]):
    indices, images = [], []
    for index, (_, image) in enumerate(read_images(folder, lines)):
        indices.append(index)
        images.append(image)
        if len(indices) == CHUNK:
            yield indices, images
            indices, images = [], []
    if indices:
        yield indices, images


def _name(guider: Guider, folder: Path, lines: list[dict], labels: Path | None) -> str:
    """Changes with the guider, the pictures, and the labels."""
    files = [[line["file"], (folder / line["file"]).stat().st_size] for line in lines]
    text = json.dumps([guider.info.fingerprint, files, labels and labels.read_text("utf-8")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_cache(cache: Path | None, name: str) -> dict[str, Tensor] | None:
    if cache is None or not cache.is_file():
        return None
    try:
        metadata, tensors = load_safetensors(cache)
        return tensors if metadata.get("name") == name else None
    except SafetensorError as error:
        logging.warning("%s is damaged and made anew: %s", cache, error)
        return None
