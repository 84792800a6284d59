"""States of several streams, which ComfyUI packs into one row (0.30.0, utils.py, pack_latents).

A model of pictures with sound samples states (B, 1, N). The first stream is the video, and guidance
acts on it alone. Pictures and videos without sound have one stream, which is not packed.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Streams:
    """`shapes`: of each stream, as OUTER_SAMPLE wrappers get them; older hosts do not tell them."""

    def __init__(self, shapes: Sequence[Sequence[int]] | None = None):
        self._first = tuple(shapes[0][1:]) if shapes and len(shapes) > 1 else None

    def shape_of_first(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the first stream of states of `shape`."""
        return tuple(shape) if self._first is None else (shape[0], *self._first)

    def first(self, states: Tensor) -> Tensor:
        """The first stream of `states`, not packed."""
        if self._first is None:
            return states
        return states[:, 0, : math.prod(self._first)].reshape(-1, *self._first)

    def with_first(self, states: Tensor, first: Tensor) -> Tensor:
        """`states` with `first` in place of their own first stream."""
        if self._first is None:
            return first
        rest = states[:, :, math.prod(self._first) :]
        return torch.cat([first.reshape(len(first), 1, -1), rest.to(first)], dim=-1)
