"""What a new expert file does, sampled by ComfyUI as the user will sample."""

from collections.abc import Callable
from dataclasses import replace

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..distillation.generate import SamplePictures
from ..distillation.rows import Rows
from ..expert_file import ExpertSet
from ..grid import GridRow, draw_grid
from ..guiders import GuiderInfo
from ..reading import Reading
from ..tasks import Preview, find_task
from .checkpoint import Checkpoint
from .guide import guide
from .loaded_guider import LoadedGuider

NUM_PICTURES = 6
FIRST_SEED = 1 << 32  # beyond every seed of a training's pictures


def preview_targets(info: GuiderInfo, answers: Rows, num: int) -> Preview:
    """A target with a row for each of `num` pictures, with their names and maps, as the task says.

    `answers`: the teacher's.
    """
    task = find_task(info.task)
    if task is None or task.preview is None:
        raise ValueError(f"a preview cannot ask for an answer of the task {info.task} yet")
    return task.preview(info, answers, num)


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
