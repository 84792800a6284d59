"""Maps of edges from pictures, and as pictures."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ..maps import own_maps
from .edges_target import EdgesTarget, resize_lines
from .index_maps import image_to_grey
from .map_making import REFERENCE, MapMaking, MapRequest

log = logging.getLogger(__name__)

ON_BLACK, ON_WHITE = "line drawing (white on black)", "line drawing (black on white)"


def read_edges(asked: MapRequest) -> tuple[Tensor, list[str]]:
    """(R, H, W) in [0, 1], as the guider sees a reference picture or as a ready map says."""
    if asked.source == REFERENCE:
        odds = torch.cat(
            [own_maps(asked.predict(part)[:, 0], torch.float32) for part in asked.parts]
        )
        return resize_lines(odds.sigmoid(), asked.parts[0].shape[-2:]), []
    grey = image_to_grey(torch.cat(list(asked.parts)))
    edges = grey if asked.source == ON_BLACK else 1 - grey
    notes = []
    if edges.median() > 0.5:
        other = ON_WHITE if asked.source == ON_BLACK else ON_BLACK
        notes.append(
            f"{(edges > 0.5).float().mean():.0%} of the map would be edges: if that is its ground, "
            f"choose the source {other!r}; nothing was inverted"
        )
        log.warning("the line drawing: %s", notes[0])
    return edges, notes


def make_edges_target(maps: Tensor, mask: Tensor, labels: Sequence[str]) -> EdgesTarget:
    return EdgesTarget(maps, mask)


def show_edges(target: EdgesTarget, labels: Sequence[str], palette: str) -> tuple[Tensor, str]:
    """(R, 3, H, W) in [-1, 1], white on black; the share of the picture that they cover."""
    shown = target.edges * (target.mask > 0)
    share = (shown > 0.5).float().mean().item()
    return shown[:, None].expand(-1, 3, -1, -1) * 2 - 1, f"edges cover {share:.1%}"


EDGES_FROM = MapMaking(
    (REFERENCE, ON_BLACK, ON_WHITE), read_edges, make_edges_target, 0.0, show_edges
)
