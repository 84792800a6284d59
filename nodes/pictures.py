"""ComfyUI's IMAGE and the core's images, and asking a guider about them."""

import comfy.model_management
import numpy
import torch
from PIL import Image
from torch import Tensor

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider


def to_core(image_bhwc: Tensor) -> Tensor:
    """IMAGE (B, H, W, C) in [0, 1] -> (B, 3, H, W) in [-1, 1]."""
    return image_bhwc[..., :3].movedim(-1, 1) * 2 - 1


def from_core(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> IMAGE."""
    return (image.movedim(1, -1) + 1) / 2


def from_pil(picture: Image.Image) -> Tensor:
    """IMAGE, one picture."""
    return torch.from_numpy(numpy.asarray(picture).astype(numpy.float32) / 255)[None]


@torch.no_grad()
def ask_guider(loaded: LoadedGuider, image: Tensor) -> Tensor:
    """What the guider without experts sees in `image` (B, 3, H, W) in [-1, 1]."""
    comfy.model_management.load_models_gpu([loaded.patcher])
    loaded.guider.switch.restore()
    return loaded.guider(image.to(loaded.patcher.load_device))
