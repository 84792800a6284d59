"""The ways to hold pixels, and each way into the other.

| name    | what holds them                                                          |
| ------- | ------------------------------------------------------------------------ |
| `image` | Tensor (..., 3, H, W) in [-1, 1]: everything in the core                 |
| `bytes` | Tensor (..., 3, H, W) of whole numbers, 0 to 255: data sets, label maps  |
| `bhwc`  | Tensor (B, H, W, C) in [0, 1]: ComfyUI's IMAGE                           |
| `pil`   | PIL.Image.Image, RGB: files, previews                                    |
"""

import numpy
import torch
from PIL import Image
from torch import Tensor


def bytes_to_image(pixels: Tensor) -> Tensor:
    """0 to 255, of any integer type and any shape -> float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def image_to_bytes(image: Tensor) -> Tensor:
    """[-1, 1], any shape -> uint8; values beyond the ends become the ends."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte()


def image_to_pil(image: Tensor) -> Image.Image:
    """One image (3, H, W) in [-1, 1] -> a picture of W x H."""
    return Image.fromarray(image_to_bytes(image).permute(1, 2, 0).cpu().numpy())


def bhwc_to_image(image_bhwc: Tensor) -> Tensor:
    """(B, H, W, C) in [0, 1] -> (B, 3, H, W) in [-1, 1]; an alpha channel is left out."""
    return image_bhwc[..., :3].movedim(-1, 1) * 2 - 1


def image_to_bhwc(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) in [0, 1]."""
    return (image.movedim(1, -1) + 1) / 2


def pil_to_bhwc(picture: Image.Image) -> Tensor:
    """A picture of W x H -> (1, H, W, 3) in [0, 1], float32."""
    return torch.from_numpy(numpy.asarray(picture).astype(numpy.float32) / 255)[None]


def enlarge(image_bhwc: Tensor, side: int) -> Tensor:
    """Whole multiples of every pixel, until the shorter side has `side` pixels or more."""
    times = -(-side // min(image_bhwc.shape[1:3]))
    return image_bhwc.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
