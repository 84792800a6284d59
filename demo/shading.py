"""Colours of the points that rays meet, in two styles.

"shaded", as everything in the demo is, or "flat": two tones of a colour, no shadow, no gloss, and a
dark line around the object.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.rays import Space, normals, shadow
from demo.shapes import Distance, length

Columns = dict[str, Tensor]  # (B,) each, by their names in `demo.scenes.RANGES`

SEGMENTS = ("floor", "wall", "object")
FLOOR, WALL, OBJECT = range(3)
# Of the flat style: factor of a dark tone, the light at which it begins, factor of the outline.
DARK_TONE, TONE_EDGE, LINE = 0.7, 0.45, 0.12


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, 1) each; the hue counts in turns -> (3, B, 1) in [0, 1]."""
    sector = torch.stack([(n + 6 * hue) % 6 for n in (5, 3, 1)])
    return value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)


def light_direction(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Unit vector (3, B, 1) towards the light, which stands behind the viewer's shoulders."""
    return torch.stack(
        (azimuth.sin() * elevation.cos(), elevation.sin(), -azimuth.cos() * elevation.cos())
    )


def background_normals(segment: Tensor) -> Tensor:
    """Unit normals (3, B, P) of floor and wall, zero on the object."""
    floor, wall = (segment == FLOOR).float(), (segment == WALL).float()
    return torch.stack((torch.zeros_like(floor), floor, -wall))


def object_normals(distance: Distance, local: Tensor, segment: Tensor) -> Tensor:
    """Unit normals (3, B, P) in the object's space at its points there, zero elsewhere."""
    is_object = segment == OBJECT
    return torch.zeros_like(local).masked_scatter(is_object, normals(distance, local[:, is_object]))


def unlit_colours(p: Columns, segment: Tensor) -> Tensor:
    """(3, B, P) in [0, 1]."""
    turn = {"floor": p["floor_hue"], "wall": p["wall_hue"], "object": 0.0}
    floor, wall, own = (
        hsv_to_rgb(p["object_hue"] + turn[name], p[f"{name}_saturation"], p[f"{name}_value"])
        for name in SEGMENTS
    )
    return torch.where(segment == OBJECT, own, torch.where(segment == WALL, wall, floor))


def shade(
    distance: Distance, space: Space, p: Columns, point: Tensor, view: Tensor, segment: Tensor
) -> Tensor:
    """Colours (3, B, P) in [0, 1] of points (3, B, P) seen along unit vectors `view`."""
    local, is_object = space.enter(point), segment == OBJECT
    own_normal = object_normals(distance, local, segment)
    normal = background_normals(segment) + space.turn_back(own_normal)

    light = light_direction(p["light_azimuth"], p["light_elevation"])
    lit = shadow(distance, local + 0.03 * own_normal, space.turn(light))
    diffuse = 0.32 + 0.1 * normal[1] + 0.68 * ((normal * light).sum(0).clamp(min=0) * lit)
    halfway = light - view
    shine = ((normal * halfway).sum(0) / length(*halfway)).clamp(min=0) ** 24 * lit * is_object
    return (unlit_colours(p, segment) * diffuse + p["gloss"] * shine).clamp(0, 1)


def flat(
    distance: Distance, space: Space, p: Columns, point: Tensor, view: Tensor, segment: Tensor
) -> Tensor:
    """As `shade`, in the flat style: the object is dark where light grazes it, else bright."""
    normal = space.turn_back(object_normals(distance, space.enter(point), segment))
    light = light_direction(p["light_azimuth"], p["light_elevation"])
    is_dark = (segment == OBJECT) & ((normal * light).sum(0) <= TONE_EDGE)
    return unlit_colours(p, segment) * torch.where(is_dark, DARK_TONE, 1.0)


def outlined(image: Tensor, segmentation: Tensor) -> Tensor:
    """Darken the object's outermost pixels. `image`, result: uint8 (B, 3, H, W)."""
    is_other = (segmentation != OBJECT).float()[:, None]
    touches = F.max_pool2d(is_other, 3, stride=1, padding=1) * (1 - is_other)
    return torch.where(touches > 0, image * LINE, image).to(torch.uint8)


COLOURS = {"shaded": shade, "flat": flat}  # style: its function
STYLES = tuple(COLOURS)
