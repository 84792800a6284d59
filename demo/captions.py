"""Scenes in words: "a red cone on a blue floor", as they were rendered and as judges see them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from demo.judges import load_judge
from demo.measures import judge_answer
from demo.paths import JUDGE
from demo.shading import FLOOR, OBJECT
from demo.shapes import SHAPES

# Each colour, and where on the circle of hues it ends, in turns; what follows the last is red.
COLOURS = {
    "red": 0.04,
    "orange": 0.12,
    "yellow": 0.19,
    "green": 0.45,
    "cyan": 0.54,
    "blue": 0.7,
    "purple": 0.82,
    "pink": 0.95,
}
NAMES = tuple(COLOURS)
VOCABULARY = ("a", "on", "floor", *NAMES, *SHAPES)


@dataclass(frozen=True)
class Seen:
    """Of N scenes: indices into NAMES, SHAPES and NAMES, int64 (N,) each."""

    colour: Tensor
    shape: Tensor
    floor: Tensor

    def captions(self) -> list[str]:
        return [
            f"a {NAMES[colour]} {SHAPES[shape]} on a {NAMES[floor]} floor"
            for colour, shape, floor in zip(*map(Tensor.tolist, vars(self).values()), strict=True)
        ]

    def __getitem__(self, rows: slice | Tensor) -> "Seen":
        return Seen(**{name: column[rows] for name, column in vars(self).items()})

    def agreement(self, other: "Seen") -> dict[str, float]:
        """The shares in which colour, shape, floor, and all three are the same."""
        same = {name: column == vars(other)[name] for name, column in vars(self).items()}
        same["all"] = torch.stack(list(same.values())).all(0)
        return {name: shares.float().mean().item() for name, shares in same.items()}


def name_hues(hue: Tensor) -> Tensor:
    """In turns -> indices into NAMES."""
    ends = torch.tensor(list(COLOURS.values()))
    return torch.bucketize(hue % 1, ends) % len(ends)


def describe(parameters: dict[str, Tensor]) -> Seen:
    """What is true of the scenes rendered from `parameters`."""
    hue = parameters["object_hue"]
    floor = name_hues(hue + parameters["floor_hue"])
    return Seen(name_hues(hue), parameters["shape"].long(), floor)


@torch.no_grad()
def judge(pictures: Tensor) -> Seen:
    """What judges, which guide nothing, see in pictures (N, 3, 32, 32) in [-1, 1]."""
    shape = load_judge(JUDGE)(pictures).argmax(1)
    colour, floor = map(name_hues, seen_hues(pictures))
    return Seen(colour, shape, floor)


@torch.no_grad()
def seen_hues(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The mean hues of what a judge takes for the object and the floor: (N,) each, in turns."""
    segments = judge_answer(pictures).logits.argmax(1)
    colour, floor = (_mean_hue(pictures, segments == segment) for segment in (OBJECT, FLOOR))
    return colour, floor


def _mean_hue(pictures: Tensor, mask: Tensor) -> Tensor:
    """The hue of the mean colour where `mask` (N, H, W) is: (N,), in turns."""
    weight = mask[:, None].float()
    red, green, blue = ((pictures + 1) * weight).sum((2, 3)).unbind(1)
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * torch.pi)
