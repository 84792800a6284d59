"""The training set: clean states of the diffusion model, and the teacher's answers to them."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..guiders import Guider
from ..out_of_memory import AtOnce
from ..pixels import bytes_to_image
from ..tasks import comparisons
from ..text_files import read_text
from .answered import Answered
from .estimates import Estimates, read_estimates
from .images import LeftOut, check_left_out, find_images, read_images, read_latent
from .rows import RowFile, Rows, RowWriter
from .teacher import read_labels, teacher_answers

CHUNK = 64

log = logging.getLogger(__name__)

ProcessIn = Callable[[Tensor], Tensor]  # from ComfyUI's LATENT to the model's own scale


@dataclass(frozen=True)
class TrainingSet:
    """`states`: (N, C, ...) clean states of the diffusion model: uint8 pixels, or latents in the
    model's own scale. `answers`: (N, ...) the teacher's answer to each clean picture.
    `fingerprint`: changes with the pictures, the guider and the labels. `estimates`: what experts
    on x0_hat read, if it was kept; without, they read fresh estimates.

    All of them may lie on disk (rows.py): what is read of them fits into memory.
    """

    states: Rows
    answers: Rows
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
        """(training, held-out): the last of `num_held` are never trained on."""
        cut = len(self) - num_held(len(self), num_heldout)
        return self._part(slice(cut)), self._part(slice(cut, None))

    def last(self, num: int) -> "TrainingSet":
        """The last `num` pictures; all, if there are no more."""
        return self._part(slice(max(0, len(self) - num), None))

    def _part(self, rows: slice) -> "TrainingSet":
        estimates = self.estimates and self.estimates[rows]
        return TrainingSet(self.states[rows], self.answers[rows], self.fingerprint, estimates)

    def in_memory(self) -> "TrainingSet":
        """The same, its states and answers as tensors."""
        rows = torch.arange(len(self))
        return replace(self, states=self.states[rows], answers=self.answers[rows])


def num_held(num_pictures: int, num_heldout: int) -> int:
    """How many of the pictures are held out: `num_heldout`, but at most a tenth."""
    return min(num_heldout, num_pictures // 10)


def build_training_set(
    folder: Path,
    guider: Guider,
    *,
    process_in: ProcessIn | None = None,
    labels: Path | None = None,
    cache: Path | None = None,
    with_estimates: bool = False,
    at_once: int = CHUNK,
    watch: Callable[[int], None] = lambda num: None,
) -> TrainingSet:
    """The training set of a folder; pictures that cannot be read are left out, counted and named.

    process_in: None trains on pixels. with_estimates: those that were kept, if every picture has
    some. labels: a CSV of file and class, in place of the teacher's answers. cache: a folder that
    holds states and answers; without one they are in memory. at_once: pictures of one pass of the
    guider. ValueError if no picture is left.
    """
    if cache is None:
        with tempfile.TemporaryDirectory() as temporary:
            options = {"process_in": process_in, "labels": labels, "at_once": at_once}
            options |= {"with_estimates": with_estimates, "watch": watch}
            data = build_training_set(folder, guider, cache=Path(temporary), **options)
            return data.in_memory()
    lines = find_images(folder)
    fingerprint = _fingerprint(guider, folder, lines, labels)
    answered = Answered(cache, f"{fingerprint} {'latents' if process_in else 'pixels'}")
    if answered.kept and not _is_first(answered, folder, lines, process_in):
        answered.forget()  # the latents are read in another scale, or files were replaced
    watch(answered.read)
    _ask_teacher(folder, lines, guider, process_in, watch, answered, at_once)
    kept = [lines[i] for i in answered.kept]
    answers = answered.answers
    if labels is not None:
        rows = read_labels(labels, [line["file"] for line in kept], guider)
        labelled = comparisons()[guider.info.kind].labelled
        writer = RowWriter(cache / "labels.npy")
        for some in rows.split(CHUNK):
            writer.append(labelled(some, answers.shape[1]))
        answers = RowFile.whole(writer.path)
    estimates = read_estimates(folder, kept) if with_estimates else None
    return TrainingSet(answered.states, answers, fingerprint, estimates)


def _ask_teacher(
    folder: Path,
    lines: list[dict],
    guider: Guider,
    process_in: ProcessIn | None,
    watch: Callable[[int], None],
    answered: Answered,
    at_once: int,
) -> None:
    """Look at the lines that `answered` has not read."""
    left_out: LeftOut = {}
    fit = AtOnce(at_once)
    unread = read_images(folder, lines[answered.read :], left_out)
    pictures = iter(enumerate(unread, answered.read))
    asked = False
    while chunk := list(islice(pictures, CHUNK)):
        kept, states, images = [], [], []
        for index, (line, image) in chunk:
            state = image
            if image is not None and process_in:
                state = _state(folder, line, process_in, left_out)
            if state is not None:
                kept.append(index)
                states.append(state)
                images.append(image)
        look = partial(teacher_answers, guider, torch.stack(images)) if images else None
        answers = look and fit.of(look)
        if answers is not None and answers.ndim > 2:
            answers = answers.half()
        answered.add(len(chunk), kept, torch.stack(states) if images else None, answers)
        asked = True
        watch(len(chunk))
    check_left_out(folder, len(answered.kept), len(lines), left_out)
    if asked:
        answered.record()


def _is_first(
    answered: Answered, folder: Path, lines: list[dict], process_in: ProcessIn | None
) -> bool:
    """Whether the first state that was kept is still what its picture gives."""
    state = _state(folder, lines[answered.kept[0]], process_in, {})
    (first,) = answered.states[torch.arange(1)]
    return state is not None and state.dtype == first.dtype and state.equal(first)


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
