"""Pictures that are decoded tile by tile, since they fit into memory in no other way."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MARGIN = 8  # of the state around each tile, which is decoded with it and cut off


class Span(NamedTuple):
    """Of one side of a state: `start` to `stop`, and with the margins `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tiles: int) -> Iterator[Span]:
    """`length` in `tiles` nearly equal parts."""
    edges = [round(length * i / tiles) for i in range(tiles + 1)]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        yield Span(start, stop, max(0, start - MARGIN), min(length, stop + MARGIN))


def largest_tile(length: int, tiles: int) -> int:
    """Of the spans, with their margins."""
    return max(span.last - span.first for span in spans(length, tiles))


def in_tiles(decode: Callable[[Tensor], Tensor], state: Tensor, tiles: int) -> Tensor:
    """`decode` of `state` (B, C, [T,] h, w), `tiles` per side: images (B, 3, [T',] H, W).

    With autograd, tiles keep no activations: the backward pass runs each of them again.
    """
    height, width = state.shape[-2:]
    rows = []
    for down in spans(height, tiles):
        row = [_tile(decode, state, down, across) for across in spans(width, tiles)]
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


def _tile(decode: Callable[[Tensor], Tensor], state: Tensor, down: Span, across: Span) -> Tensor:
    part = state[..., down.first : down.last, across.first : across.last]
    if torch.is_grad_enabled():
        image = checkpoint(decode, part, use_reentrant=False, preserve_rng_state=False)
    else:
        image = decode(part)
    tall, wide = (a // b for a, b in zip(image.shape[-2:], part.shape[-2:], strict=True))
    top, left = tall * (down.start - down.first), wide * (across.start - across.first)
    bottom = top + tall * (down.stop - down.start)
    return image[..., top:bottom, left : left + wide * (across.stop - across.start)]
