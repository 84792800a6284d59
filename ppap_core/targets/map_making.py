"""How a task makes its targets from pictures: what a picture may be, and what it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .target import Target

REFERENCE = "reference picture"

Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> the guider's answer


@dataclass(frozen=True, eq=False)
class MapRequest:
    """Pictures to make maps from.

    `parts`: of a batch, (R, 3, H, W) in [-1, 1] together; each is shown to the guider at once.
    `source`: what the pictures are. `labels`: the guider's. `palette`, `void_value`: of a drawn map
    of classes, see palettes.py. `predict` asks the guider, without experts.
    """

    parts: Sequence[Tensor]
    source: str
    labels: Sequence[str]
    palette: str
    void_value: int
    predict: Predict


@dataclass(frozen=True, eq=False)
class MapMaking:
    """`sources`: what a picture may be. `read`: a request -> maps (R, H, W), and notes for the
    user. `make`: (maps, mask (R or 1, H, W), labels) -> a target. `void`: the value of maps where
    nothing is asked for. `show`: (target, labels, palette) -> a picture of it, (R, 3, H, W) in
    [-1, 1], and what it holds in words.
    """

    sources: tuple[str, ...]
    read: Callable[[MapRequest], tuple[Tensor, list[str]]]
    make: Callable[[Tensor, Tensor, Sequence[str]], Target]
    void: float
    show: Callable[[Target, Sequence[str], str], tuple[Tensor, str]]
