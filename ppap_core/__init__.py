"""The core: an off-the-shelf vision model with noise experts guides a diffusion model.

It needs torch, but no ComfyUI outside comfy_bridge/. Each file is imported by name, so that finding
ComfyUI (comfy_bridge/headless.py) does not wait for torch.

    tasks/           what guiders can answer: one file for each kind
    guiders/         a folder -> a Guider: the vision model with its preprocessing
    targets/         what a guider should answer, as a log-likelihood
    experts, expert_file, expert_header    adapters per noise range, and their file
    noise            noise levels and noise ranges
    views            latents as images
    cut_outs         parts of pictures, which a guider reads by themselves
    guidance, strength, jacobian           the gradient, and how it moves a picture
    distillation/    training of experts
    comfy_bridge/    all of this in ComfyUI
    pixel_unet, adm  diffusion models that work on pixels

Other packs use the names in `__all__`, and no others; docs/tasks.md shows how.
"""

from importlib import import_module
from typing import Any

_PLACES = {  # public name: the file that it is in
    **dict.fromkeys(("Comparison", "Preview", "Recommendation", "Recommended", "Task"), ".tasks"),
    **dict.fromkeys(("CLASSES", "SCORES", "register_task"), ".tasks"),
    **dict.fromkeys(("Guider", "GuiderInfo", "Preprocessing"), ".guiders"),
    **dict.fromkeys(("check_by_trial", "fingerprint"), ".guiders"),
    "CutOutsTarget": ".targets.cut_outs_target",
    "Wording": ".targets.wording",
    "LoadedGuider": ".comfy_bridge.loaded_guider",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no public name {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)
