"""The training set: clean states of the diffusion model, and the teacher's answers to them."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..atomic import load_safetensors, save_safetensors
from ..guiders import Guider
from ..pixels import bytes_to_image
from ..text_files import read_text
from .estimates import Estimates, read_estimates
from .images import LeftOut, check_left_out, find_images, read_images, read_latent
from .teacher import label_answers, read_labels, teacher_answers

CHUNK = 64

log = logging.getLogger(__name__)

ProcessIn = Callable[[Tensor], Tensor]  # from ComfyUI's LATENT to the model's own scale


@dataclass(frozen=True)
class TrainingSet:
    """`states`: (N, C, ...) clean states of the diffusion model: uint8 pixels, or latents in the
    model's own scale. `answers`: (N, ...) the teacher's answer to each clean picture.
    `fingerprint`: changes with the pictures, the guider and the labels. `estimates`: what experts
    on x0_hat read, if it was kept; without, they read fresh estimates.
    """

    states: Tensor
    answers: Tensor
    fingerprint: str = ""
    estimates: Estimates | None = None

    def __post_init__(self):
        if len(self.states) != len(self.answers):
            raise ValueError(f"{len(self.states)} states but {len(self.answers)} answers")

    def __len__(self) -> int:
        return len(self.states)

    def x_0(self, chosen: Tensor) -> Tensor:
        """Clean states (B, C, ...), float32; pixels in [-1, 1]."""
        states = self.states[chosen]
        return bytes_to_image(states) if states.dtype == torch.uint8 else states.float()

    def split(self, num_heldout: int) -> tuple["TrainingSet", "TrainingSet"]:
        """(training, held-out): the last `num_heldout`, at most a tenth, are never trained on."""
        cut = len(self) - min(num_heldout, len(self) // 10)
        return self._part(slice(cut)), self._part(slice(cut, None))

    def _part(self, rows: slice) -> "TrainingSet":
        estimates = self.estimates and self.estimates[rows]
        return TrainingSet(self.states[rows], self.answers[rows], self.fingerprint, estimates)


def build_training_set(
    folder: Path,
    guider: Guider,
    *,
    process_in: ProcessIn | None = None,
    labels: Path | None = None,
    cache: Path | None = None,
    with_estimates: bool = False,
    watch: Callable[[int], None] = lambda num: None,
) -> TrainingSet:
    """The training set of a folder; pictures that cannot be read are left out, counted and named.

    process_in: None trains on pixels. with_estimates: those that were kept, if every picture has
    some. labels: a CSV of file and class, in place of the teacher's
    answers. cache: a file that keeps the answers. ValueError if no picture is left.
    """
    lines = find_images(folder)
    fingerprint = _fingerprint(guider, folder, lines, labels)
    cached = _read_cache(cache, fingerprint)
    if cached is not None:
        states = [_state(folder, lines[i], process_in, {}) for i in cached["kept"].tolist()]
        watch(len(lines))
        if all(state is not None for state in states):
            kept = [lines[i] for i in cached["kept"].tolist()]
            estimates = read_estimates(folder, kept) if with_estimates else None
            return TrainingSet(torch.stack(states), cached["answers"], fingerprint, estimates)
    kept, states, answers = _ask_teacher(folder, lines, guider, process_in, watch)
    if labels is not None:
        files = [lines[i]["file"] for i in kept]
        answers = label_answers(read_labels(labels, files, guider), answers.shape[1])
    elif answers.ndim > 2:
        answers = answers.half()
    if cache is not None:
        tensors = {"kept": torch.tensor(kept), "answers": answers}
        save_safetensors(tensors, cache, {"fingerprint": fingerprint})
    estimates = read_estimates(folder, [lines[i] for i in kept]) if with_estimates else None
    return TrainingSet(states, answers, fingerprint, estimates)


def _ask_teacher(
    folder: Path,
    lines: list[dict],
    guider: Guider,
    process_in: ProcessIn | None,
    watch: Callable[[int], None],
) -> tuple[list[int], Tensor, Tensor]:
    """(indices into `lines` of the pictures that can be used, their states, their answers)."""
    kept, states, answers, left_out = [], [], [], {}
    pictures = iter(enumerate(read_images(folder, lines, left_out)))
    while chunk := list(islice(pictures, CHUNK)):
        images = []
        for index, (line, image) in chunk:
            state = image
            if image is not None and process_in:
                state = _state(folder, line, process_in, left_out)
            if state is not None:
                kept.append(index)
                states.append(state)
                images.append(image)
        if images:
            answers.append(teacher_answers(guider, torch.stack(images)))
        watch(len(chunk))
    check_left_out(folder, len(lines), left_out)
    return kept, torch.stack(states), torch.cat(answers)


def _state(
    folder: Path, line: dict, process_in: ProcessIn | None, left_out: LeftOut
) -> Tensor | None:
    if process_in is None:
        return next(image for _, image in read_images(folder, [line], left_out))
    if "latent" not in line:
        raise ValueError(
            f"{folder} holds no latents ({line['file']}): generate the pictures with this model"
        )
    latent = read_latent(folder, line, left_out)
    return None if latent is None else process_in(latent[None].float())[0].half()


def _fingerprint(guider: Guider, folder: Path, lines: list[dict], labels: Path | None) -> str:
    files = [[line["file"], (folder / line["file"]).stat().st_size] for line in lines]
    text = json.dumps([guider.info.fingerprint, files, labels and read_text(labels)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_cache(cache: Path | None, fingerprint: str) -> dict[str, Tensor] | None:
    if cache is None or not cache.is_file():
        return None
    try:
        metadata, tensors = load_safetensors(cache)
        return tensors if metadata.get("fingerprint") == fingerprint else None
    except SafetensorError as error:
        log.warning("%s is damaged and made anew: %s", cache, error)
        return None
