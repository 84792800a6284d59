"""What a new expert file does, sampled by ComfyUI as the user will sample."""

from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..distillation.generate import settings_of
from ..distillation.training_set import TrainingSet
from ..expert_file import ExpertSet
from ..grid import GridRow, draw_grid
from ..guidance import Guidance
from ..guiders import GuiderInfo
from ..strength import Strength
from ..targets import ClassTarget, DepthTarget, SegmentationTarget, Target
from ..targets.map_target import show_target
from ..targets.palettes import HUES
from .hook import install_guidance
from .pictures import build_sampler
from .views import build_view

if TYPE_CHECKING:
    from .trainer import Trainer

NUM_PICTURES = 6
SCALE = 0.1  # of the rule "relative": serves all guiders (evidence/strength.py)
FIRST_SEED = 1 << 32  # beyond every seed of a training's pictures


def preview_targets(
    info: GuiderInfo, answers: Tensor, num: int
) -> tuple[Target, list[str], Tensor | None]:
    """Targets of a preview, one for each of `num` pictures, with their names and maps.

    Classes: the teacher's most frequent ones. Depth and segmentation: its answers to the last
    pictures, which were held out of the training.
    """
    answers = answers.float()
    if info.task == "class":
        seen = answers.argmax(dim=1).bincount(minlength=answers.shape[1])
        classes = seen.topk(min(num, answers.shape[1])).indices.tolist()
        names = [info.labels[k].split(",")[0] for k in classes]
        return ClassTarget([{k: 1.0} for k in classes], answers.shape[1]), names, None
    answers = answers[-num:]
    if info.task == "depth":
        target = DepthTarget(answers)
    else:
        target = SegmentationTarget(answers.argmax(dim=1), answers.shape[1])
    maps = show_target(target, info.labels, HUES, []).preview
    return target, [f"target {i + 1}" for i in range(len(answers))], maps


def sample_preview(trainer: "Trainer", expert_set: ExpertSet, data: TrainingSet) -> Image.Image:
    """Rows: no guidance, the guider alone, its experts; one column per target, the same seeds."""
    target, names, maps = preview_targets(trainer.guider.info, data.answers, NUM_PICTURES)
    seeds = [FIRST_SEED + i for i in range(len(names))]
    methods = {"no guidance": trainer.checkpoint.model}
    for name, experts in (("guider alone", None), ("PPAP experts", expert_set.experts)):
        methods[name] = _guided_model(trainer, expert_set, experts, target)
    rows = []
    settings = settings_of(trainer.files.image_folder(), trainer.generate)
    for name, model in methods.items():
        sample = build_sampler(trainer.checkpoint, settings, trainer.conditioning, model)
        rows.append(GridRow(name, "", sample(seeds, [""] * len(seeds)).image))
    size = rows[0].images.shape[-2:]
    if maps is not None:
        rows.insert(0, GridRow("target", "", F.interpolate(maps, size)))
    return draw_grid(names, rows, cell=max(104, min(256, size[-1])))


def _guided_model(trainer: "Trainer", expert_set: ExpertSet, experts, target: Target):
    checkpoint = trainer.checkpoint
    view = build_view(expert_set.header.view, checkpoint.model, checkpoint.vae)
    seen = expert_set.header.input
    guidance = Guidance(
        trainer.guider, target, Strength(SCALE, "relative"), experts, view.view, seen
    )
    return install_guidance(checkpoint.model, guidance, trainer.patcher, *view.patchers)
