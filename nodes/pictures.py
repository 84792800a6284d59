"""Asking a guider about pictures inside a node."""

import comfy.model_management
import torch
from torch import Tensor

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider


@torch.no_grad()
def ask_guider(loaded: LoadedGuider, image: Tensor) -> Tensor:
    """The answer of the guider without experts about `image` (B, 3, H, W) in [-1, 1]."""
    comfy.model_management.load_models_gpu([loaded.patcher])
    loaded.guider.switch.restore()
    return loaded.guider(image.to(loaded.patcher.load_device))
