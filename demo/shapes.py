"""The ten shapes, as signed distances in their own space: x right, y up, z away from the viewer."""

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def length(*coordinates: Tensor) -> Tensor:
    return sum(c * c for c in coordinates).sqrt()


def inside_both(a: Tensor, b: Tensor) -> Tensor:
    """Distance to the intersection of two solids whose surfaces meet at right angles."""
    return torch.maximum(a, b).clamp(max=0) + length(a.clamp(min=0), b.clamp(min=0))


def box(x: Tensor, y: Tensor, z: Tensor, half: tuple[float, float, float]) -> Tensor:
    return inside_both(x.abs() - half[0], inside_both(y.abs() - half[1], z.abs() - half[2]))


def cone(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # The mantle's unit normal (0.91, 0.414) belongs to height 1.63 over radius 0.74.
    mantle = 0.91 * length(x, z) + 0.414 * (y - 0.95)
    return torch.maximum(mantle, -0.68 - y)


def jack(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    bar = (0.87, 0.23, 0.23)
    flat_bars = torch.minimum(box(x, y, z, bar), box(z, x, y, bar))
    return torch.minimum(flat_bars, box(y, z, x, bar))


def dumbbell(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    ball = length(x.abs() - 0.57, y, z) - 0.45
    return torch.minimum(ball, inside_both(length(y, z) - 0.13, x.abs() - 0.57))


def stairs(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    lower = inside_both(x.abs() - 0.74, (y + 0.32).abs() - 0.28)
    upper = inside_both((x + 0.37).abs() - 0.37, y.abs() - 0.6)
    return inside_both(torch.minimum(lower, upper), z.abs() - 0.38)


# Name: signed distance in the object's space, and the height at which it stands.
SOLIDS: dict[str, tuple[Distance, float]] = {
    "sphere": (lambda x, y, z: length(x, y, z) - 0.8, 0.8),
    "cube": (lambda x, y, z: box(x, y, z, (0.57, 0.57, 0.57)), 0.57),
    "cylinder": (lambda x, y, z: inside_both(length(x, z) - 0.5, y.abs() - 0.8), 0.8),
    "cone": (cone, 0.68),
    "torus": (lambda x, y, z: length(length(x, y) - 0.66, z) - 0.25, 0.91),
    "capsule": (lambda x, y, z: length(x - x.clamp(-0.6, 0.6), y, z) - 0.42, 0.42),
    "octahedron": (lambda x, y, z: (x.abs() + y.abs() + z.abs() - 0.97) * 3**-0.5, 0.97),
    "jack": (jack, 0.87),
    "dumbbell": (dumbbell, 0.45),
    "stairs": (stairs, 0.6),
}
SHAPES = tuple(SOLIDS)
