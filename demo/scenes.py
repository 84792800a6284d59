"""A world whose truth is known: one of ten shapes on a floor before a wall.

Sphere tracing gives the picture with its exact class, depth and segmentation. All the rest
(colours, pose, size, camera, light) is random and independent of the class. Stairs always rise to
the left, so scenes must never be mirrored.

Scenes are shaded, as everything in the demo is, or drawn flat: two tones of a colour, no shadow, no
gloss, and a dark line around the object.

Vectors carry their coordinates in the first dimension. In the world x points right, y up and z away
from the viewer; the object's own space is turned by its yaw, centred on it and scaled by its size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.shapes import DISTANCES, SHAPES, Distance, length

SEGMENTS = ("floor", "wall", "object")
FLOOR, WALL, OBJECT = range(3)

FIELD_OF_VIEW = 0.32  # half the picture's width at distance 1
CAMERA_DISTANCE = 4.5
SUPERSAMPLING = 2
MARCH_STEPS, SHADOW_STEPS = 28, 14
SHADOW_SHARPNESS = 9.0
HIT_DISTANCE = 6e-3
BALL_RADIUS_SQUARED = 1.04  # of the ball that holds every shape in its own space
CHUNK = 64  # scenes traced together: 16 are 20 % slower
STYLES = ("shaded", "flat")
DARK_TONE, TONE_EDGE, LINE = 0.7, 0.45, 0.12  # of a flat colour, of light, of an outline

RANGES = {
    "shape": (0.0, 10.0),
    "yaw": (-0.9, 0.9),
    "size": (0.82, 1.14),
    "x": (-0.2, 0.2),
    "z": (-0.3, 0.3),
    "wall": (1.4, 2.2),
    "camera_height": (1.5, 2.9),
    "aim_height": (0.55, 0.75),
    "light_azimuth": (-1.1, 1.1),
    "light_elevation": (0.6, 1.15),
    "gloss": (0.05, 0.5),
    "object_hue": (0.0, 1.0),
    "object_saturation": (0.25, 0.9),
    "object_value": (0.45, 1.0),
    "floor_hue": (0.12, 0.88),  # counted from the object's, so that it stands out
    "floor_saturation": (0.15, 0.75),
    "floor_value": (0.35, 0.95),
    "wall_hue": (0.12, 0.88),
    "wall_saturation": (0.15, 0.75),
    "wall_value": (0.35, 0.95),
}


@dataclass(frozen=True)
class Scenes:
    """N pictures and what is true of them."""

    image: Tensor  # uint8 (N, 3, H, W)
    label: Tensor  # int64 (N,), index into SHAPES
    depth: Tensor  # float32 (N, H, W) along the viewing axis, in scene units, about 2.9 to 7.3
    segmentation: Tensor  # uint8 (N, H, W), index into SEGMENTS

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | Tensor) -> "Scenes":
        return Scenes(*(column[rows] for column in vars(self).values()))


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


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, 1) each; the hue counts in turns -> (3, B, 1) in [0, 1]."""
    sector = torch.stack([(n + 6 * hue) % 6 for n in (5, 3, 1)])
    return value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)


def draw_parameters(num: int, seed: int) -> dict[str, Tensor]:
    """One column (num,) per name in RANGES, uniform in its range."""
    uniform = torch.rand(num, len(RANGES), generator=torch.Generator().manual_seed(seed))
    columns = zip(RANGES.items(), uniform.unbind(1), strict=True)
    return {name: low + (high - low) * column for (name, (low, high)), column in columns}


def camera_rays(height: Tensor, aim_height: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Origin (3, B, 1) and directions (3, B, size^2) of length 1 along the viewing axis."""
    zero = torch.zeros_like(height)
    origin = torch.stack((zero, height, zero - CAMERA_DISTANCE))
    slope = torch.atan((aim_height - height) / CAMERA_DISTANCE)
    forward = torch.stack((zero, slope.sin(), slope.cos()))
    up = torch.stack((zero, slope.cos(), -slope.sin()))
    right = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
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


def light_direction(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Unit vector (3, B, 1) towards the light, which stands behind the viewer's shoulders."""
    return torch.stack(
        (azimuth.sin() * elevation.cos(), elevation.sin(), -azimuth.cos() * elevation.cos())
    )


def surface_colours(p: dict[str, Tensor]) -> Tensor:
    """(3 channels, 3 segments, B, 1) in [0, 1]."""
    turn = {"floor": p["floor_hue"], "wall": p["wall_hue"], "object": 0.0}
    colours = (
        hsv_to_rgb(p["object_hue"] + turn[name], p[f"{name}_saturation"], p[f"{name}_value"])
        for name in SEGMENTS
    )
    return torch.stack(tuple(colours), 1)


def background_normals(segment: Tensor) -> Tensor:
    """Unit normals (3, B, P) of floor and wall, zero on the object."""
    floor, wall = (segment == FLOOR).float(), (segment == WALL).float()
    return torch.stack((torch.zeros_like(floor), floor, -wall))


def object_normals(distance: Distance, local: Tensor, segment: Tensor) -> Tensor:
    """Unit normals (3, B, P) in the object's space at its points there, zero elsewhere."""
    is_object = segment == OBJECT
    return torch.zeros_like(local).masked_scatter(is_object, normals(distance, local[:, is_object]))


def unlit_colours(p: dict[str, Tensor], segment: Tensor) -> Tensor:
    """(3, B, P) in [0, 1]."""
    floor, wall, own = surface_colours(p).unbind(1)
    return torch.where(segment == OBJECT, own, torch.where(segment == WALL, wall, floor))


def shade(
    distance: Distance,
    space: Space,
    p: dict[str, Tensor],
    point: Tensor,
    view: Tensor,
    segment: Tensor,
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
    distance: Distance,
    space: Space,
    p: dict[str, Tensor],
    point: Tensor,
    view: Tensor,
    segment: Tensor,
) -> Tensor:
    """As `shade`, the object in two tones; where light grazes it, it has the darker one."""
    normal = space.turn_back(object_normals(distance, space.enter(point), segment))
    light = light_direction(p["light_azimuth"], p["light_elevation"])
    is_dark = (segment == OBJECT) & ((normal * light).sum(0) <= TONE_EDGE)
    return unlit_colours(p, segment) * torch.where(is_dark, DARK_TONE, 1.0)


def outlined(image: Tensor, segmentation: Tensor) -> Tensor:
    """Pixels of the object that touch something else become dark; uint8 (B, 3, H, W)."""
    is_other = (segmentation != OBJECT).float()[:, None]
    touches = F.max_pool2d(is_other, 3, stride=1, padding=1) * (1 - is_other)
    return torch.where(touches > 0, image * LINE, image).to(torch.uint8)


def trace(
    shape: int, p: dict[str, Tensor], size: int, style: str = "shaded"
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours (3, B, P) in [0, 1], depth (B, P), segments (B, P) of P = size^2 rays a scene."""
    distance, standing = list(DISTANCES.items())[shape]
    p = {name: column[:, None] for name, column in p.items()}
    space = Space(torch.stack((p["x"], p["size"] * standing, p["z"])), p["size"], p["yaw"])
    origin, ray = camera_rays(p["camera_height"], p["aim_height"], size)
    view = ray / length(*ray)

    to_floor = (-origin[1] / ray[1]).where(ray[1] < 0, torch.inf)
    to_wall = (p["wall"] - origin[2]) / ray[2]
    to_object = march(distance, space.enter(origin), space.turn(view)) * p["size"] / length(*ray)
    depth, segment = torch.stack((to_floor, to_wall, to_object)).min(0)
    colour = {"shaded": shade, "flat": flat}[style]
    return colour(distance, space, p, origin + depth * ray, view, segment), depth, segment


def shrink(
    colour: Tensor, depth: Tensor, segment: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Average the rays of each pixel: image, depth and segmentation as in Scenes.

    A pixel belongs to the object if half of its rays do, else to the more frequent background;
    its depth is the mean over the rays of its own segment.
    """

    def pixels(rays: Tensor) -> Tensor:
        return rays.unflatten(-1, (size, SUPERSAMPLING, size, SUPERSAMPLING)).mean((-3, -1))

    masks = [segment == index for index in range(len(SEGMENTS))]
    share = torch.stack([pixels(mask.float()) for mask in masks])
    segmentation = torch.where(share[OBJECT] >= 0.5, OBJECT, share[:OBJECT].argmax(0))
    depths = torch.stack([pixels(depth * mask) for mask in masks]) / share
    image = (pixels(colour) * 255).round().to(torch.uint8).movedim(0, 1)
    return image, depths.gather(0, segmentation[None])[0], segmentation.to(torch.uint8)


@torch.no_grad()
def render_parameters(parameters: dict[str, Tensor], size: int, style: str = "shaded") -> Scenes:
    label = parameters["shape"].long()
    num = len(label)
    image = torch.empty(num, 3, size, size, dtype=torch.uint8)
    depth = torch.empty(num, size, size)
    segmentation = torch.empty(num, size, size, dtype=torch.uint8)
    for shape in range(len(SHAPES)):
        for rows in (label == shape).nonzero()[:, 0].split(CHUNK):
            columns = {name: column[rows] for name, column in parameters.items()}
            rays = trace(shape, columns, size * SUPERSAMPLING, style)
            image[rows], depth[rows], segmentation[rows] = shrink(*rays, size)
    if style == "flat":
        image = outlined(image, segmentation)
    return Scenes(image, label, depth, segmentation)


def render(num: int, seed: int, *, size: int = 32, style: str = "shaded") -> Scenes:
    """The first `num` scenes of the endless row that belongs to `seed`."""
    return render_parameters(draw_parameters(num, seed), size, style)
