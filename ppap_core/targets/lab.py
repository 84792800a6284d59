"""Colours as people see distances between them: CIE L*a*b* (1976) of sRGB, D65."""

import torch
from torch import Tensor

RGB_TO_XYZ = (  # IEC 61966-2-1
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = tuple(map(sum, RGB_TO_XYZ))
DELTA = 6 / 29


def image_to_lab(image: Tensor) -> Tensor:
    """(..., 3, H, W) in about [-1, 1] -> L* in [0, 100], a* and b*, differentiably.

    The linear parts of both curves go on below 0, so estimates outside the range keep a gradient.
    """
    rgb = (image + 1) / 2
    linear = torch.where(
        rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92
    )
    matrix = image.new_tensor(RGB_TO_XYZ) / image.new_tensor(WHITE)[:, None]
    xyz = (linear.movedim(-3, -1) @ matrix.T).movedim(-1, -3)
    root = torch.where(
        xyz > DELTA**3, xyz.clamp(min=DELTA**3) ** (1 / 3), xyz / (3 * DELTA**2) + 4 / 29
    )
    x, y, z = root.unbind(-3)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -3)
