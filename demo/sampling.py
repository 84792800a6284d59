"""The demo's pixel model and its guiders in ComfyUI, which must be booted: load, guide, sample."""

from dataclasses import fields
from pathlib import Path

from torch import Tensor

from demo.measures import FILES
from demo.paths import PIXEL_MODEL
from ppap_core.expert_file import load_experts
from ppap_core.guiders import load_guider
from ppap_core.reading import OPEN, Reading
from ppap_core.shaping import Shaping
from ppap_core.strength import RECOMMENDED, Strength

STEPS, SAMPLER, SCHEDULER, SIZE = 25, "ddim", "ddim_uniform", 32


def load_model(file: Path = PIXEL_MODEL):
    """MODEL of a pixel model's file."""
    from ppap_core.comfy_bridge.pixel_model import load_pixel_model

    return load_pixel_model(file)


def load_guiding(task: str):
    """The LoadedGuider for "class", "depth" or "segmentation", with its experts."""
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    folder, experts = FILES[task]
    return LoadedGuider.of(load_guider(folder)).with_experts(load_experts(experts))


def guide_model(
    model,
    guider,
    target,
    strength: float = 1.0,
    rule: str = RECOMMENDED,
    reading: Reading = OPEN,
    **settings,
):
    """`model` (MODEL), guided. `settings`: other fields of Strength and Shaping."""
    from ppap_core.comfy_bridge.guide import guide

    of_shaping = {field.name for field in fields(Shaping)} & settings.keys()
    shaping = Shaping(**{name: settings.pop(name) for name in of_shaping})
    how = {"reading": reading, "shaping": shaping}
    return guide(model, guider, target, Strength(strength, rule, **settings), **how)


def sample(model, seeds: list[int], **told) -> Tensor:
    """(N, 3, 32, 32) in [-1, 1], one for each seed. `told`: what the model's conditioning says."""
    from ppap_core.comfy_bridge.sampling import sample_pixels

    return sample_pixels(model, seeds, STEPS, SAMPLER, SCHEDULER, SIZE, SIZE, **told)
