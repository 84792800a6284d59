"""What a new expert file does, sampled by ComfyUI as the user will sample."""

from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..distillation.generate import SamplePictures
from ..distillation.rows import Rows
from ..expert_file import ExpertSet
from ..grid import GridRow, draw_grid
from ..guiders import GuiderInfo
from ..reading import Reading
from ..targets import ClassTarget, DepthTarget, SegmentationTarget, Target
from ..targets.map_target import show_target
from ..targets.palettes import HUES
from .checkpoint import Checkpoint
from .guide import guide
from .loaded_guider import LoadedGuider

NUM_PICTURES = 6
CHUNK = 4096  # answers that are counted at once
FIRST_SEED = 1 << 32  # beyond every seed of a training's pictures


def preview_targets(
    info: GuiderInfo, answers: Rows, num: int
) -> tuple[Target, list[str], Tensor | None]:
    """Targets of a preview, one for each of `num` pictures, with their names and maps.

    Classes: those that the teacher saw most often; scores: that each be high. Depth and
    segmentation: its answers to the last pictures, which were held out of the training.
    """
    if info.task == "class":
        classes = _seen(info, answers).topk(min(num, answers.shape[1])).indices.tolist()
        names = [info.labels[k].split(",")[0] for k in classes]
        rows = [{k: 1.0} for k in classes]
        return ClassTarget(rows, answers.shape[1], answer=info.answer), names, None
    answers = answers[torch.arange(len(answers))[-num:]].float()
    if info.task == "depth":
        target = DepthTarget(answers)
    elif info.task == "segmentation":
        target = SegmentationTarget(answers.argmax(dim=1), answers.shape[1])
    else:
        raise ValueError(f"a preview cannot ask for an answer of the task {info.task} yet")
    maps = show_target(target, info.labels, HUES, []).preview
    return target, [f"target {i + 1}" for i in range(len(answers))], maps


def _seen(info: GuiderInfo, answers: Rows) -> Tensor:
    """(N, K) answers -> (K,): how often each class was seen; for scores, their sums."""
    parts = (answers[rows].float() for rows in torch.arange(len(answers)).split(CHUNK))
    if info.answer == "softmax":
        return sum(part.argmax(dim=1).bincount(minlength=answers.shape[1]) for part in parts)
    return sum((p.sigmoid() if info.answer == "sigmoid" else p).sum(dim=0) for p in parts)


SamplerOf = Callable[[object], SamplePictures]  # a MODEL -> how it samples


def sample_preview(
    checkpoint: Checkpoint,
    guider: LoadedGuider,
    expert_set: ExpertSet,
    answers: Rows,
    sampler_of: SamplerOf,
) -> Image.Image:
    """Rows: no guidance, the guider alone, its experts; one column per target, the same seeds.

    `answers`: the teacher's, of the training pictures.
    """
    target, names, maps = preview_targets(guider.guider.info, answers, NUM_PICTURES)
    with_experts = replace(guider, experts=expert_set.experts)
    model, vae, reading = checkpoint.model, checkpoint.vae, expert_set.header.reading
    models = {
        ("no guidance", ""): model,
        ("guider alone", ""): guide(model, guider, target, reading=reading, vae=vae),
        ("PPAP experts", ""): guide(model, with_experts, target, reading=reading, vae=vae),
    }
    return _sheet(models, names, maps, sampler_of)


def sample_learned(
    checkpoint: Checkpoint,
    guider: LoadedGuider,
    reading: Reading,
    answers: Rows,
    num: int,
    sampler_of: SamplerOf,
    title: str,
    note: str,
) -> Image.Image:
    """A row of `num` pictures, guided by the experts of `guider`; always the same seeds.

    `answers`: the teacher's, of the training pictures.
    """
    target, names, maps = preview_targets(guider.guider.info, answers, num)
    model = guide(checkpoint.model, guider, target, reading=reading, vae=checkpoint.vae)
    return _sheet({(title, note): model}, names, maps, sampler_of)


def _sheet(
    models: dict[tuple[str, str], object],
    names: list[str],
    maps: Tensor | None,
    sampler_of: SamplerOf,
) -> Image.Image:
    """A row for each of `models`, by title and note; a column for each target."""
    seeds = [FIRST_SEED + i for i in range(len(names))]
    rows = [
        GridRow(title, note, sampler_of(model)(seeds, [""] * len(seeds)).image)
        for (title, note), model in models.items()
    ]
    size = rows[0].images.shape[-2:]
    if maps is not None:
        rows.insert(0, GridRow("target", "", F.interpolate(maps, size)))
    return draw_grid(names, rows, cell=max(104, min(256, size[-1])))
