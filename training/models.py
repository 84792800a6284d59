"""The models that a training starts from, by file or name. Imported once ComfyUI is booted."""

from pathlib import Path
from typing import TypedDict

from ppap_core.comfy_bridge.checkpoint import Checkpoint, load_checkpoint
from ppap_core.comfy_bridge.conditioning import Conditionings
from ppap_core.comfy_bridge.folders import register_folders
from ppap_core.comfy_bridge.guiders import load_named_guider
from ppap_core.comfy_bridge.memory import WholeModulePatcher, build_patcher
from ppap_core.comfy_bridge.pictures import conditioning_of
from ppap_core.guiders import Guider, add_score_head, load_guider

from .config import Sources


class Models(TypedDict):
    """The part of a `Trainer` that is loaded; no guider if none is named."""

    checkpoint: Checkpoint
    guider: Guider | None
    patcher: WholeModulePatcher | None
    conditioning: Conditionings


def load_models(sources: Sources) -> Models:
    encoders = [name.strip() for name in sources.text_encoders.split(",") if name.strip()]
    guider = find_guider(sources.guider, sources.allow_download) if sources.guider else None
    if guider and sources.score_head:
        guider = add_score_head(guider, Path(sources.score_head))
    checkpoint = load_checkpoint(sources.checkpoint, sources.vae, encoders, sources.clip_type)
    return Models(
        checkpoint=checkpoint,
        guider=guider,
        patcher=build_patcher(guider) if guider else None,
        conditioning=conditioning_of(checkpoint),
    )


def find_guider(name: str, allow_download: bool = False) -> Guider:
    """From a folder, or by the name that the loader node offers."""
    register_folders()
    return load_guider(name) if Path(name).is_dir() else load_named_guider(name, allow_download)
