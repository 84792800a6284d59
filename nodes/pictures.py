"""Pictures inside a node: asking a guider about them, and reading previews from disk."""

import logging
from collections.abc import Iterator
from pathlib import Path

import comfy.model_management
import torch
from torch import Tensor

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.comfy_bridge.memory import images_at_once
from ..ppap_core.picture_files import read_picture
from ..ppap_core.pixels import pil_to_bhwc

MOST_AT_ONCE = 16
SHARE = 0.25  # of the device's memory

log = logging.getLogger(__name__)


@torch.no_grad()
def ask_guider(loaded: LoadedGuider, image: Tensor) -> Tensor:
    """The answer of the guider without experts about `image` (B, 3, H, W) in [-1, 1]."""
    comfy.model_management.load_models_gpu([loaded.patcher])
    loaded.guider.switch.restore()
    return loaded.guider(image.to(loaded.patcher.load_device))


def load_preview(file: Path) -> Tensor | None:
    """(1, H, W, 3) in [0, 1]; None if there is none, or, with a warning, if it cannot be read."""
    if not file.is_file():
        return None
    try:
        return pil_to_bhwc(read_picture(file))
    except ValueError as error:
        log.warning("the preview %s is not shown: %s", file, error)
        return None


def ask_in_passes(loaded: LoadedGuider, image: Tensor) -> Iterator[Tensor]:
    """Answers as of `ask_guider`, on the CPU, to as many pictures at once as fit."""
    for part in image.split(images_in_a_pass(loaded, image)):
        yield ask_guider(loaded, part).cpu()


def ask_about_all(loaded: LoadedGuider, image: Tensor) -> Tensor:
    """The answers of `ask_in_passes`, together."""
    return torch.cat([*ask_in_passes(loaded, image)])


def images_in_a_pass(loaded: LoadedGuider, image: Tensor) -> int:
    """How many of `image` (B, 3, H, W) `ask_guider` should be asked about at once."""
    device = loaded.patcher.load_device
    return images_at_once(loaded.guider, SHARE, MOST_AT_ONCE, image.shape, device)
