"""Maps of nearness from pictures, and as pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..maps import own_maps, shrink_or_grow
from .depth_target import DepthTarget
from .index_maps import image_to_grey
from .map_making import REFERENCE, MapMaking, MapRequest

NEAR_IS_BRIGHT, FAR_IS_BRIGHT = "depth map (near is bright)", "depth map (far is bright)"


def read_nearness(asked: MapRequest) -> tuple[Tensor, list[str]]:
    """(R, H, W), as the guider sees a reference picture or as a ready map says."""
    if asked.source == REFERENCE:
        maps = torch.cat([own_maps(asked.predict(part), torch.float32) for part in asked.parts])
        return shrink_or_grow(maps, asked.parts[0].shape[-2:]), []
    grey = image_to_grey(torch.cat(list(asked.parts)))
    return grey if asked.source == NEAR_IS_BRIGHT else -grey, []


def make_depth_target(maps: Tensor, mask: Tensor, labels: Sequence[str]) -> DepthTarget:
    return DepthTarget(maps, mask=mask)


def show_nearness(target: DepthTarget, labels: Sequence[str], palette: str) -> tuple[Tensor, str]:
    """(R, 3, H, W) in [-1, 1]: white is nearest, black is farthest or does not count."""
    counts = target.mask > 0
    near = target.nearness.where(counts, -float("inf")).amax((1, 2), keepdim=True)
    far = target.nearness.where(counts, float("inf")).amin((1, 2), keepdim=True)
    grey = ((target.nearness - far) / (near - far)).where(counts, 0.0)
    return grey[:, None].expand(-1, 3, -1, -1) * 2 - 1, "nearness"


NEARNESS = MapMaking(
    (REFERENCE, NEAR_IS_BRIGHT, FAR_IS_BRIGHT), read_nearness, make_depth_target, 0.0, show_nearness
)
