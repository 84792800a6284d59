"""What a new expert file does, in ComfyUI's own sampler: what is seen is what the user will get."""

from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..distillation.distill import TrainingSet
from ..expert_file import ExpertSet
from ..grid import GridRow, draw_grid
from ..guiders import GuiderInfo
from ..strength import Strength
from ..targets import ClassTarget, DepthTarget, SegmentationTarget, Target
from ..targets.map_target import show_target
from ..targets.palettes import HUES
from .drawing import build_draw
from .guide import guide
from .loaded_guider import LoadedGuider

if TYPE_CHECKING:
    from .trainer import Trainer

NUM_PICTURES = 6
SCALE = 0.1  # of the rule "relative": serves all guiders (evidence/strength.py)
FIRST_SEED = 1 << 32  # beyond every seed that a training draws


def preview_targets(
    info: GuiderInfo, answers: Tensor, num: int
) -> tuple[Target, list[str], Tensor | None]:
    """What a preview asks for: one target for each of `num` pictures, their names, and their maps.

    Classes: those that the teacher saw most often; scores: that each be high. Depth and
    segmentation: what it said of the last pictures, which were held out of the training.
    """
    answers = answers.float()
    if info.task == "class":
        classes = _seen(info, answers).topk(min(num, answers.shape[1])).indices.tolist()
        names = [info.labels[k].split(",")[0] for k in classes]
        rows = [{k: 1.0} for k in classes]
        return ClassTarget(rows, answers.shape[1], answer=info.answer), names, None
    answers = answers[-num:]
    if info.task == "depth":
        target = DepthTarget(answers)
    else:
        target = SegmentationTarget(answers.argmax(dim=1), answers.shape[1])
    maps = show_target(target, info.labels, HUES, []).preview
    return target, [f"target {i + 1}" for i in range(len(answers))], maps


def _seen(info: GuiderInfo, answers: Tensor) -> Tensor:
    """(N, K) answers -> (K,): how often each class was seen; for scores, their means."""
    if info.answer == "softmax":
        return answers.argmax(dim=1).bincount(minlength=answers.shape[1])
    return (answers.sigmoid() if info.answer == "sigmoid" else answers).mean(dim=0)


def draw_preview(trainer: "Trainer", expert_set: ExpertSet, data: TrainingSet) -> Image.Image:
    """Rows: no guidance, the guider alone, its experts; one column per target, the same seeds."""
    target, names, maps = preview_targets(trainer.guider.info, data.answers, NUM_PICTURES)
    seeds = [FIRST_SEED + i for i in range(len(names))]
    methods = {"no guidance": trainer.checkpoint.model}
    for name, experts in (("guider alone", None), ("PPAP experts", expert_set.experts)):
        methods[name] = _guided_model(trainer, expert_set, experts, target)
    rows = []
    for name, model in methods.items():
        draw = build_draw(trainer.checkpoint, trainer.as_drawn(), trainer.conditioning, model)
        rows.append(GridRow(name, "", draw(seeds, [""] * len(seeds)).image))
    size = rows[0].images.shape[-2:]
    if maps is not None:
        rows.insert(0, GridRow("target", "", F.interpolate(maps, size)))
    return draw_grid(names, rows, cell=max(104, min(256, size[-1])))


def _guided_model(trainer: "Trainer", expert_set: ExpertSet, experts, target: Target):
    checkpoint = trainer.checkpoint
    return guide(
        checkpoint.model,
        LoadedGuider(trainer.guider, trainer.patcher, experts),
        target,
        Strength(SCALE, "relative"),
        reading=expert_set.header.reading,
        vae=checkpoint.vae,
    )
