"""Rays through a scene: where they meet the object, its normals, and the light that reaches it.

Vectors carry their coordinates in the first dimension. In the world x points right, y up and z away
from the viewer. The object has a space of its own: centred on it, turned by its yaw and scaled by
its size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from demo.shapes import Distance, length

FIELD_OF_VIEW = 0.32  # half the picture's width at distance 1
CAMERA_DISTANCE = 4.5
MARCH_STEPS, SHADOW_STEPS = 28, 14
SHADOW_SHARPNESS = 9.0
HIT_DISTANCE = 6e-3
BALL_RADIUS_SQUARED = 1.04  # of the ball that holds every shape in its own space


class Space(NamedTuple):
    """Where the object stands: centre (3, B, 1), size (B, 1) and yaw (B, 1) in radians."""

    centre: Tensor
    size: Tensor
    yaw: Tensor

    def turn(self, vector: Tensor) -> Tensor:
        """Direction in the world -> in the object's own space, lengths kept."""
        x, y, z = vector
        cos, sin = self.yaw.cos(), self.yaw.sin()
        turned = (cos * x - sin * z, y, sin * x + cos * z)
        return torch.stack(torch.broadcast_tensors(*turned))

    def enter(self, point: Tensor) -> Tensor:
        """Point in the world -> in the object's own space."""
        return self.turn(point - self.centre) / self.size

    def turn_back(self, vector: Tensor) -> Tensor:
        return self._replace(yaw=-self.yaw).turn(vector)


def camera_axes(height: Tensor, aim_height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The camera's right, up and forward in the world: unit vectors, (3, B, 1) or (3, 1, 1)."""
    zero = torch.zeros_like(height)
    slope = torch.atan((aim_height - height) / CAMERA_DISTANCE)
    forward = torch.stack((zero, slope.sin(), slope.cos()))
    up = torch.stack((zero, slope.cos(), -slope.sin()))
    return torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1), up, forward


def camera_rays(height: Tensor, aim_height: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Origin (3, B, 1) and directions (3, B, size^2) of length 1 along the viewing axis."""
    zero = torch.zeros_like(height)
    origin = torch.stack((zero, height, zero - CAMERA_DISTANCE))
    right, up, forward = camera_axes(height, aim_height)
    ticks = FIELD_OF_VIEW * ((torch.arange(size) + 0.5) / size * 2 - 1)
    down, across = torch.meshgrid(ticks, ticks, indexing="ij")
    return origin, forward + across.flatten() * right - down.flatten() * up


def cross_ball(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rays with unit directions (3, ...) -> whether they meet the object's ball, entry, exit."""
    middle = -(origin * direction).sum(0)
    half_chord_squared = BALL_RADIUS_SQUARED + middle.square() - origin.square().sum(0)
    half_chord = half_chord_squared.clamp(min=0).sqrt()
    meets = (half_chord_squared > 0) & (middle + half_chord > 0)
    return meets, middle - half_chord, middle + half_chord


def march(distance: Distance, origin: Tensor, direction: Tensor) -> Tensor:
    """Rays (3, B, P) in the object's space -> distance to it (B, P), inf where they miss."""
    meets, enter, leave = cross_ball(origin, direction)
    start, ahead, t = origin.expand_as(direction)[:, meets], direction[:, meets], enter[meets]
    for _ in range(MARCH_STEPS):
        gap = distance(*torch.addcmul(start, ahead, t))
        t = t + gap
    hit = (gap < HIT_DISTANCE) & (t < leave[meets])
    return torch.full(meets.shape, torch.inf).masked_scatter(meets, t.where(hit, torch.inf))


def normals(distance: Distance, point: Tensor) -> Tensor:
    """Unit gradient of the distance at points (3, M), from the corners of a small tetrahedron."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    gradient = sum(c[:, None] * distance(*(point + 2e-3 * c[:, None])) for c in corners)
    return gradient / length(*gradient).clamp(min=1e-9)


def shadow(distance: Distance, point: Tensor, light: Tensor) -> Tensor:
    """How much light reaches points (3, B, P) of the object's space, in [0, 1]; soft edges."""
    meets, enter, _ = cross_ball(point, light)
    start, ahead = point[:, meets], light.expand_as(point)[:, meets]
    t = enter[meets].clamp(min=0.04)
    lit = torch.ones_like(t)
    for _ in range(SHADOW_STEPS):
        gap = distance(*torch.addcmul(start, ahead, t))
        lit = torch.minimum(lit, SHADOW_SHARPNESS * gap / t)
        t = t + gap.clamp(min=0.03)
    return torch.ones(meets.shape).masked_scatter(meets, lit.clamp(0, 1))
