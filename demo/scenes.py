"""A world whose truth is known: one of ten shapes on a floor before a wall.

Sphere tracing gives the picture with its exact class, depth and segmentation. All the rest
(colours, pose, size, camera, light) is random and independent of the class. Stairs always rise to
the left, so scenes must never be mirrored.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from demo.rays import Space, camera_rays, march
from demo.shading import COLOURS, OBJECT, SEGMENTS, outlined
from demo.shapes import SHAPES, SOLIDS, Distance, length

SUPERSAMPLING = 2  # rays of a pixel along each side
CHUNK = 64  # scenes traced together: 16 are 20 % slower

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
    # These hues are counted from the object's, so that it stands out.
    "floor_hue": (0.12, 0.88),
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
        return Scenes(**{name: column[rows] for name, column in vars(self).items()})

    def pictures(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """The images of these rows, as networks read them: (B, 3, H, W) in [-1, 1]."""
        return self.image[rows].float() / 127.5 - 1


class Rays(NamedTuple):
    """What P = size^2 rays of each of B scenes meet."""

    colour: Tensor  # (3, B, P) in [0, 1]
    depth: Tensor  # (B, P)
    segment: Tensor  # (B, P), index into SEGMENTS


class Meeting(NamedTuple):
    """Where P = size^2 rays of each of B scenes of one shape end."""

    distance: Distance  # of the shape, in its own space
    space: Space  # where the object stands
    columns: dict[str, Tensor]  # the parameters, (B, 1) each
    point: Tensor  # (3, B, P) in the world
    view: Tensor  # (3, B, P), the rays' unit vectors
    depth: Tensor  # (B, P)
    segment: Tensor  # (B, P), index into SEGMENTS


def random_parameters(num: int, seed: int) -> dict[str, Tensor]:
    """One column (num,) per name in RANGES, uniform in its range."""
    uniform = torch.rand(num, len(RANGES), generator=torch.Generator().manual_seed(seed))
    columns = zip(RANGES.items(), uniform.unbind(1), strict=True)
    return {name: low + (high - low) * column for (name, (low, high)), column in columns}


def meet(shape: int, p: dict[str, Tensor], size: int) -> Meeting:
    """Send size x size rays into each scene of this shape. `p`: columns (B,) as in RANGES."""
    distance, standing = SOLIDS[SHAPES[shape]]
    p = {name: column[:, None] for name, column in p.items()}
    space = Space(torch.stack((p["x"], p["size"] * standing, p["z"])), p["size"], p["yaw"])
    origin, ray = camera_rays(p["camera_height"], p["aim_height"], size)
    view = ray / length(*ray)

    to_floor = (-origin[1] / ray[1]).where(ray[1] < 0, torch.inf)
    to_wall = (p["wall"] - origin[2]) / ray[2]
    to_object = march(distance, space.enter(origin), space.turn(view)) * p["size"] / length(*ray)
    depth, segment = torch.stack((to_floor, to_wall, to_object)).min(0)
    return Meeting(distance, space, p, origin + depth * ray, view, depth, segment)


def trace(shape: int, p: dict[str, Tensor], size: int, style: str = "shaded") -> Rays:
    """As `meet`, with the colours that the rays see."""
    met = meet(shape, p, size)
    colour = COLOURS[style](*met[:5], met.segment)
    return Rays(colour, met.depth, met.segment)


def average_rays(rays: Rays, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average the rays of each pixel: image, depth and segmentation as in Scenes.

    A pixel belongs to the object if half of its rays do, else to the more frequent background;
    its depth is the mean over the rays of its own segment.
    """

    def pixels(values: Tensor) -> Tensor:
        return values.unflatten(-1, (size, SUPERSAMPLING, size, SUPERSAMPLING)).mean((-3, -1))

    masks = [rays.segment == index for index in range(len(SEGMENTS))]
    share = torch.stack([pixels(mask.float()) for mask in masks])
    segmentation = torch.where(share[OBJECT] >= 0.5, OBJECT, share[:OBJECT].argmax(0))
    depths = torch.stack([pixels(rays.depth * mask) for mask in masks]) / share
    image = (pixels(rays.colour) * 255).round().to(torch.uint8).movedim(0, 1)
    return image, depths.gather(0, segmentation[None])[0], segmentation.to(torch.uint8)


@torch.no_grad()
def render_parameters(parameters: dict[str, Tensor], size: int, style: str = "shaded") -> Scenes:
    """Scenes of size x size pixels, one for each row of `parameters` (columns as in RANGES)."""
    label = parameters["shape"].long()
    num = len(label)
    image = torch.empty(num, 3, size, size, dtype=torch.uint8)
    depth = torch.empty(num, size, size)
    segmentation = torch.empty(num, size, size, dtype=torch.uint8)
    for shape in range(len(SHAPES)):
        for rows in (label == shape).nonzero()[:, 0].split(CHUNK):
            columns = {name: column[rows] for name, column in parameters.items()}
            rays = trace(shape, columns, size * SUPERSAMPLING, style)
            image[rows], depth[rows], segmentation[rows] = average_rays(rays, size)
    if style == "flat":
        image = outlined(image, segmentation)
    return Scenes(image, label, depth, segmentation)


def render(num: int, seed: int, *, size: int = 32, style: str = "shaded") -> Scenes:
    """`num` random scenes of size x size pixels; the same seed gives the same scenes."""
    return render_parameters(random_parameters(num, seed), size, style)
