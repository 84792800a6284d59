"""From a configuration to a `Trainer`, and what a terminal shows of its stages.

To be imported once ComfyUI is booted (ppap_core.comfy_bridge.headless).
"""

import logging
from dataclasses import replace
from pathlib import Path

from ppap_core.atomic import replace_file
from ppap_core.comfy_bridge.checkpoint import load_checkpoint
from ppap_core.comfy_bridge.drawing import conditioning_of
from ppap_core.comfy_bridge.folders import register_folders
from ppap_core.comfy_bridge.guiders import load_named_guider
from ppap_core.comfy_bridge.memory import build_patcher
from ppap_core.comfy_bridge.trainer import Trainer
from ppap_core.distillation.distill import TrainingSet
from ppap_core.distillation.evaluate import agreement_per_range, agreement_table
from ppap_core.distillation.images import find_images
from ppap_core.distillation.workers import rank
from ppap_core.expert_file import load_experts
from ppap_core.guiders import Guider, load_guider

from .config import Config
from .progress import Bar, Watcher

log = logging.getLogger(__package__)


def build_trainer(config: Config) -> Trainer:
    """Load what the configuration names."""
    paths = config.paths
    encoders = [name.strip() for name in paths.text_encoders.split(",") if name.strip()]
    guider = find_guider(paths.guider, paths.allow_download) if paths.guider else None
    patcher = build_patcher(guider) if guider else None
    checkpoint = load_checkpoint(paths.checkpoint, paths.vae, encoders, paths.clip_type)
    return Trainer(
        checkpoint=checkpoint,
        guider=guider,
        patcher=patcher,
        conditioning=conditioning_of(checkpoint, config.generate.read_prompts()),
        drawing=config.generate,
        distilling=config.distill,
        images=paths.image_folder(),
        run=paths.run_folder(),
        out=Path(paths.out),
        labels=Path(paths.labels) if paths.labels else None,
        force=paths.force,
    )


def find_guider(name: str, allow_download: bool = False) -> Guider:
    """From a folder, or by the name that the loader node offers."""
    register_folders()
    return load_guider(name) if Path(name).is_dir() else load_named_guider(name, allow_download)


def draw_pictures(trainer: Trainer) -> None:
    total = trainer.drawing.num_images
    with Bar("draw pictures", total, total - trainer.num_missing(), "image") as bar:
        trainer.draw_pictures(bar.advance)


def ask_teacher(trainer: Trainer) -> TrainingSet:
    with Bar("ask the teacher", len(find_images(trainer.images)), 0, "image") as bar:
        return trainer.training_set(bar.advance)


def teach(trainer: Trainer, config: Config) -> None:
    """Distil, and say what came of it."""
    data = ask_teacher(trainer)
    if rank() == 0:
        with replace_file(trainer.run / "config.toml") as partial:
            partial.write_text(config.to_toml(), encoding="utf-8")
    with Watcher(trainer.run, trainer.distilling) as watcher:
        taught = trainer.teach(data, watcher)
    if taught:
        log.info("agreement with the guider's own answer, held-out pictures")
        log.info("%s", agreement_table(taught[1]))
        log.info("wrote %s; the report is %s", trainer.out, trainer.run / "report.md")


def evaluate(trainer: Trainer, experts: Path) -> str:
    """Agreement of an expert file with its guider, on all pictures of a folder."""
    expert_set = load_experts(experts)
    header = expert_set.header
    as_trained = replace(trainer.distilling, input=header.input, view=header.view)
    _, read = replace(trainer, distilling=as_trained).reader()
    data = ask_teacher(trainer)
    return agreement_table(
        agreement_per_range(trainer.guider, expert_set.for_guider(trainer.guider), data, read=read)
    )
