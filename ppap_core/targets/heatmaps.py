"""Heatmaps of a body's joints: where each is, as a distribution over the picture, and read off.

Pose models learn heatmaps by their squared error from Gaussians that are 1 at the joint and 0 far
from it (Xiao et al., 2018). A point of the picture is (x, y) in [0, 1], x right and y down; a
heatmap's pixels stand for their centres. Distances are shares of the picture's longer side.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# What makes logits of heatmaps: in an empty heatmap of 64 x 48 a peak of 0.5 then has 95 % of the
# softmax, and one of 0.2 has 14 %.
SHARPNESS = 20.0
AROUND = 2  # pixels on each side of a peak, from which its place is read


class Joints(NamedTuple):
    """Of R pictures: `points` (R, J, 2) in [0, 1], and how sure each is, `scores` (R, J)."""

    points: Tensor
    scores: Tensor


def log_places(heatmaps: Tensor) -> Tensor:
    """(B, J, h, w) -> the log-probability of every place of each joint, (B, J, h * w)."""
    return (SHARPNESS * heatmaps.float()).flatten(2).log_softmax(dim=2)


def pixel_points(size: tuple[int, int]) -> Tensor:
    """The centres of `size` (h, w) pixels as points, (h * w, 2)."""
    down, across = ((torch.arange(side) + 0.5) / side for side in size)
    return torch.stack((across.repeat(len(down)), down.repeat_interleave(len(across))), dim=1)


def distance(a: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """Between points (..., 2) of a picture of proportions `size` (h, w): (...,)."""
    sides = a.new_tensor((size[1], size[0])) / max(size)
    return ((a - b) * sides).norm(dim=-1)


def read_joints(heatmaps: Tensor) -> Joints:
    """The peaks of (B, J, h, w), and their heights: the mean place around the highest pixel."""
    size = tuple(heatmaps.shape[-2:])
    flat = heatmaps.float().flatten(2)
    scores, peak = flat.max(dim=2)
    pixel = torch.arange(flat.shape[2], device=flat.device)
    row, column = pixel // size[1], pixel % size[1]
    is_near = ((row - row[peak][..., None]).abs() <= AROUND) & (
        (column - column[peak][..., None]).abs() <= AROUND
    )
    shares = (SHARPNESS * flat).masked_fill(~is_near, -torch.inf).softmax(dim=2)
    return Joints(shares @ pixel_points(size).to(shares), scores)
