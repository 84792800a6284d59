"""Maps of surface normals from pictures, and as pictures."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import own_maps, shrink_or_grow
from .map_making import REFERENCE, MapMaking, MapRequest
from .normals_target import SHORTEST, NormalsTarget

log = logging.getLogger(__name__)

GREEN_UP, GREEN_DOWN = "normal map (green up, OpenGL)", "normal map (green down, DirectX)"
RED_LEFT = "normal map (red left, green up: BAE, DSINE)"
# What turns a map's vectors into ours: x right, y up, z towards the viewer. Of BAE and DSINE, which
# ControlNet's preprocessors draw: their author in baegwangbin/DSINE, issues 8 and 12.
SIGNS = {GREEN_UP: (1, 1, 1), GREEN_DOWN: (1, -1, 1), RED_LEFT: (-1, 1, 1)}
NEARLY_BLACK = -0.9  # where preprocessors and renderers leave what has no surface
AWAY = "most of it faces away from the viewer"
MIRRORED = "its slopes are not those of one surface, but would be with red or green turned"
OTHER_AXES = (
    "the guider's normals have other axes than those of a normal map: use it with reference "
    "pictures only"
)
UNIT = (0.8, 1.2)  # lengths that 8 bits, JPEG and resizing may give a unit vector
MOST_ODD = 0.3  # share of the vectors that may have another length
STEEP = 5.0  # a slope above this is an outline, which tells nothing about the axes
ONE_SURFACE = 0.1  # from this on a correlation is a sign; 32 x 32 pixels of a right map have -0.03


def read_normals(asked: MapRequest) -> tuple[Tensor, list[str]]:
    """(R, 3, H, W), as the guider sees a reference picture or as a ready map says."""
    if asked.source == REFERENCE:
        maps = torch.cat([_asked(asked, part) for part in asked.parts])
        size = asked.parts[0].shape[-2:]
        notes = [OTHER_AXES] if axes_fault(maps) else []
        return shrink_or_grow(maps.flatten(0, 1), size).unflatten(0, (-1, 3)), notes
    image = torch.cat(list(asked.parts))
    signs = image.new_tensor(SIGNS[asked.source])[:, None, None]
    is_black = (image < NEARLY_BLACK).all(1, keepdim=True)
    normals = image.masked_fill(is_black, 0.0) * signs
    _check(normals)
    notes = [_doubt(fault, asked.source)] if (fault := axes_fault(normals)) else []
    for note in notes:
        log.warning("the normal map: %s", note)
    return normals, notes


def _asked(asked: MapRequest, part: Tensor) -> Tensor:
    answer = asked.predict(part)
    return own_maps(answer.flatten(0, 1), torch.float32).unflatten(0, (-1, 3))


def _check(normals: Tensor) -> None:
    """ValueError for a picture that is no map of normals: another kind of map, or a photograph."""
    length = normals.norm(dim=1)
    given = length > SHORTEST
    odd = given & ((length < UNIT[0]) | (length > UNIT[1]))
    share = odd.sum().item() / max(1, given.sum().item())
    if share > MOST_ODD:
        raise ValueError(
            f"{share:.0%} of the image's colours are no directions, so it is no normal map: "
            f"connect one, or choose the source {REFERENCE} if it is a picture"
        )


def axes_fault(normals: Tensor) -> str:
    """How normals (R, 3, H, W) show that their axes are others than ours; "" if they do not.

    What is seen faces the viewer, so z is above 0. And the slopes of one surface z(x, y) obey
    d/dy (dz/dx) = d/dx (dz/dy) (Frankot and Chellappa, 1988): with x or y turned, both sides have
    opposite signs. With both turned they have not: a bump and a hollow look alike.
    """
    given = normals.norm(dim=1) > SHORTEST
    if (normals[:, 2][given] < 0).float().mean() > 0.5:
        return AWAY
    return MIRRORED if integrability(normals) < -ONE_SURFACE else ""


def _doubt(fault: str, source: str) -> str:
    """A note for the user about a map that was read as `source` says."""
    if fault == AWAY:
        return f"{fault}: draw it with blue towards the viewer; nothing was turned"
    one, two = SIGNS[source][:2]
    others = " or ".join(repr(s) for s, (x, y, _) in SIGNS.items() if x * y != one * two)
    return f"{fault}: if it was drawn so, choose the source {others}; nothing was turned"


def integrability(normals: Tensor) -> float:
    """The correlation of both sides, in [-1, 1]; 0 for a map without curved or bent surfaces."""
    if min(normals.shape[-2:]) < 3:
        return 0.0
    x, y, z = normals.unbind(1)
    steep = (z < 0.1) | (x.abs() > STEEP * z) | (y.abs() > STEEP * z)
    z = z.clamp(min=0.1)
    along_x, along_y = (-x / z).where(~steep, 0.0), (-y / z).where(~steep, 0.0)
    # Rows run down, y runs up.
    twist_x = -(along_x[:, 2:, 1:-1] - along_x[:, :-2, 1:-1])
    twist_y = along_y[:, 1:-1, 2:] - along_y[:, 1:-1, :-2]
    known = 1 - F.max_pool2d(steep.float(), 3, stride=1)
    one, other = (twist_x * known).flatten(), (twist_y * known).flatten()
    return F.cosine_similarity(one, other, dim=0).item()


def make_normals_target(maps: Tensor, mask: Tensor, labels: Sequence[str]) -> NormalsTarget:
    return NormalsTarget(maps, mask)


def show_normals(target: NormalsTarget, labels: Sequence[str], palette: str) -> tuple[Tensor, str]:
    """(R, 3, H, W) in [-1, 1], coloured as in OpenGL; black where they do not count."""
    shown = target.normals.where(target.mask[:, None] > 0, -1.0)
    return shown, "normals (red right, green up, blue towards the viewer)"


NORMALS_FROM = MapMaking((REFERENCE, *SIGNS), read_normals, make_normals_target, 0.0, show_normals)
