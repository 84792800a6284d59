"""Exact key points of the demo's shapes in the picture: the joints of the demo's pose models."""

import torch
from torch import Tensor

from demo.rays import CAMERA_DISTANCE, FIELD_OF_VIEW, camera_axes
from demo.scenes import CHUNK, meet, random_parameters
from demo.shading import OBJECT
from demo.shapes import SHAPES

# The middle of the object, the floor below it, and the ends of what is seen of it.
JOINTS = ("centre", "foot", "top", "left end", "right end")
FINE = 2  # rays of a pixel along each side


def project(point: Tensor, height: Tensor, aim_height: Tensor) -> Tensor:
    """Points (3, B, 1) of the world -> (B, 2): (x, y) in [0, 1] of the picture, y down."""
    right, up, forward = camera_axes(height, aim_height)
    zero = torch.zeros_like(height)
    seen = point - torch.stack((zero, height, zero - CAMERA_DISTANCE))
    across, above, away = ((seen * axis).sum(0)[:, 0] for axis in (right, up, forward))
    return (torch.stack((across, -above), 1) / (away[:, None] * FIELD_OF_VIEW) + 1) / 2


def silhouette_ends(is_object: Tensor) -> list[Tensor]:
    """(B, h, w) -> the middles (B, 2) of the topmost row, the leftmost and the rightmost column."""
    sides = is_object.shape[-2:]
    row, column = (torch.arange(side) for side in sides)
    down, across = torch.meshgrid(row, column, indexing="ij")
    return [
        _mean_place(is_object, _is_least(is_object, down), sides),
        _mean_place(is_object, _is_least(is_object, across), sides),
        _mean_place(is_object, _is_least(is_object, -across), sides),
    ]


def _is_least(is_object: Tensor, order: Tensor) -> Tensor:
    far = order.masked_fill(~is_object, order.max() + 1)
    return far == far.amin((1, 2), keepdim=True)


def _mean_place(is_object: Tensor, chosen: Tensor, sides: tuple[int, int]) -> Tensor:
    share = (is_object & chosen).float()
    share = share / share.sum((1, 2), keepdim=True)
    down, across = ((torch.arange(side) + 0.5) / side for side in sides)
    return torch.stack(((share.sum(1) * across).sum(1), (share.sum(2) * down).sum(1)), 1)


@torch.no_grad()
def render_keypoints(parameters: dict[str, Tensor], size: int = 32) -> Tensor:
    """(N, J, 2), one for each row of `parameters` (columns as in demo.scenes.RANGES)."""
    label = parameters["shape"].long()
    points = torch.empty(len(label), len(JOINTS), 2)
    for shape in range(len(SHAPES)):
        for rows in (label == shape).nonzero()[:, 0].split(CHUNK):
            columns = {name: column[rows] for name, column in parameters.items()}
            met = meet(shape, columns, FINE * size)
            camera = met.columns["camera_height"], met.columns["aim_height"]
            centre = met.space.centre
            foot = centre * centre.new_tensor([1.0, 0.0, 1.0])[:, None, None]
            is_object = (met.segment == OBJECT).unflatten(-1, (FINE * size, FINE * size))
            whole = project(centre, *camera), project(foot, *camera)
            points[rows] = torch.stack([*whole, *silhouette_ends(is_object)], 1)
    return points


def scene_keypoints(num: int, seed: int) -> Tensor:
    """Those of `demo.scenes.render(num, seed)`'s scenes."""
    return render_keypoints(random_parameters(num, seed))
