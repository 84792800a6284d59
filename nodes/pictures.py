"""Asking a guider about pictures inside a node."""

import comfy.model_management
import torch
from torch import Tensor

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.comfy_bridge.memory import images_at_once

MOST_AT_ONCE = 16
SHARE = 0.25  # of the device's memory


@torch.no_grad()
def ask_guider(loaded: LoadedGuider, image: Tensor) -> Tensor:
    """The answer of the guider without experts about `image` (B, 3, H, W) in [-1, 1]."""
    comfy.model_management.load_models_gpu([loaded.patcher])
    loaded.guider.switch.restore()
    return loaded.guider(image.to(loaded.patcher.load_device))


def images_in_a_pass(loaded: LoadedGuider, image: Tensor) -> int:
    """How many of `image` (B, 3, H, W) `ask_guider` should be asked about at once."""
    comfy.model_management.load_models_gpu([loaded.patcher])
    return images_at_once(loaded.guider, SHARE, MOST_AT_ONCE, image.shape)
