"""The box around a person that a pose model reads: that of the joints, with a margin."""

import torch
from torch import Tensor

from .people import corners_of

MARGIN = 1.25  # times a person's box: what ViTPose and Sapiens2 read around it
LEAST = 0.1  # of the picture's longer side: a box around a single joint


def person_boxes(points: Tensor, asked: Tensor, sizes: Tensor, reads: tuple[int, int]) -> Tensor:
    """Around those of `points` (R, P, J, 2) that are `asked` (R, P, J): boxes (R, P, 4).

    `sizes`: (width, height) of the R pictures. The boxes may reach beyond them.
    """
    return enlarged(*corners_of(points, asked), sizes, reads)


def enlarged(low: Tensor, high: Tensor, sizes: Tensor, reads: tuple[int, int]) -> Tensor:
    """Boxes from `low` to `high` (R, P, 2), with a margin, in the proportions `reads` (h, w)."""
    pixels = sizes[:, None]
    sides = (high - low) * pixels * MARGIN
    sides = sides.maximum(LEAST * pixels.amax(-1, keepdim=True))
    proportions = sides.new_tensor((reads[1], reads[0]))
    sides = (sides / proportions).amax(-1, keepdim=True) * proportions / pixels
    centre = (low + high) / 2
    return torch.cat((centre - sides / 2, centre + sides / 2), -1)


def shares_of_picture(boxes: Tensor) -> Tensor:
    """How much of the picture each of `boxes` (..., 4) covers: (...,) in [0, 1]."""
    inside = boxes.clamp(0, 1)
    return (inside[..., 2:] - inside[..., :2]).prod(-1)
