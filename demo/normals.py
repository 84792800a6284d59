"""Exact surface normals of the demo's scenes, as the camera sees them.

x points right, y up and z towards the viewer, as in the pack's task "normals".
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.rays import camera_axes
from demo.scenes import CHUNK, SUPERSAMPLING, meet, random_parameters
from demo.shading import OBJECT, SEGMENTS, background_normals, object_normals
from demo.shapes import SHAPES


def trace_normals(shape: int, p: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Unit normals (3, B, P) where P = size^2 rays meet each scene of this shape, and the segment
    there (B, P). `p`: columns (B,) as in demo.scenes.RANGES.
    """
    met = meet(shape, p, size)
    own = object_normals(met.distance, met.space.enter(met.point), met.segment)
    normal = background_normals(met.segment) + met.space.turn_back(own)
    right, up, forward = camera_axes(met.columns["camera_height"], met.columns["aim_height"])
    return torch.stack([(normal * axis).sum(0) for axis in (right, up, -forward)]), met.segment


def average_normals(normal: Tensor, segment: Tensor, size: int) -> Tensor:
    """(B, 3, size, size): the mean over the rays of each pixel's own segment, at length 1.

    Which segment that is, `demo.scenes.average_rays` says.
    """

    def pixels(values: Tensor) -> Tensor:
        return values.unflatten(-1, (size, SUPERSAMPLING, size, SUPERSAMPLING)).mean((-3, -1))

    masks = [(segment == index).float() for index in range(len(SEGMENTS))]
    share = torch.stack([pixels(mask) for mask in masks])
    own = torch.where(share[OBJECT] >= 0.5, OBJECT, share[:OBJECT].argmax(0))
    means = torch.stack([pixels(normal * mask) for mask in masks])
    chosen = means.gather(0, own.expand_as(means[:1]))[0]
    return F.normalize(chosen, dim=0).movedim(0, 1)


@torch.no_grad()
def render_normals(parameters: dict[str, Tensor], size: int) -> Tensor:
    """(N, 3, size, size), one for each row of `parameters` (columns as in demo.scenes.RANGES)."""
    label = parameters["shape"].long()
    normals = torch.empty(len(label), 3, size, size)
    for shape in range(len(SHAPES)):
        for rows in (label == shape).nonzero()[:, 0].split(CHUNK):
            columns = {name: column[rows] for name, column in parameters.items()}
            traced = trace_normals(shape, columns, size * SUPERSAMPLING)
            normals[rows] = average_normals(*traced, size)
    return normals


def scene_normals(num: int, seed: int, size: int = 32) -> Tensor:
    """The normals of `demo.scenes.render(num, seed)`'s scenes."""
    return render_normals(random_parameters(num, seed), size)
