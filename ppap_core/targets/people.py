"""The joints of several people in several pictures, and which of the people are meant."""

from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[float, float]  # (width, height)
EVERYONE = 0


class People(NamedTuple):
    """P people in each of R pictures of `sizes`; pictures with fewer have scores of 0.

    `names`: of K joints. `points`: (R, P, K, 2) in [0, 1]. `scores`: how sure each is, (R, P, K).
    `notes`: for the user.
    """

    names: tuple[str, ...]
    points: Tensor
    scores: Tensor
    sizes: list[Size]
    notes: tuple[str, ...] = ()

    def sure(self, confidence: float) -> Tensor:
        """(R, P, K): which joints are there, and at least `confidence` sure."""
        return (self.scores >= confidence) & (self.scores > 0)


def choose(people: People, person: int, confidence: float, socket: str) -> People:
    """The largest first, by the box of the joints that are at least `confidence` sure.

    `person`: EVERYONE, or only the person of that place. `socket`: what people are from. ValueError
    for a person that is not there.
    """
    sure, is_there = people.sure(confidence), (people.scores > 0).any(2)
    low, high = corners_of(people.points, sure)
    area = (high - low).clamp(min=0).prod(-1)  # a picture's size is the same for its people
    area = area.masked_fill(~sure.any(2), -1.0).masked_fill(~is_there, -2.0)
    counts = is_there.sum(1).tolist()
    for number, count in enumerate(counts, 1):
        if person > count:
            told = "1 person" if count == 1 else f"{count} people"
            raise ValueError(
                f"the widget person is {person}, but picture {number} of the socket {socket} has "
                f"{told}: choose 1 to {count}, where 1 is the largest, or 0 for everyone"
            )
    order = area.argsort(dim=1, descending=True, stable=True)
    order = order[:, person - 1 : person] if person else order
    row = torch.arange(len(order))[:, None]
    numbers = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else counts[0]
    told = "person" if set(counts) == {1} else "people"
    which = f"number {person} by size" if person else "everyone"
    return people._replace(
        points=people.points[row, order],
        scores=people.scores[row, order],
        notes=(*people.notes, f"{socket} has {numbers} {told} in a picture: {which} is asked for"),
    )


def corners_of(points: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Upper left and lower right (..., 2) of the box around those of `points` (..., K, 2) where
    `counts` (..., K); infinite where nothing counts.
    """
    no = ~counts[..., None]
    low, high = points.masked_fill(no, torch.inf), points.masked_fill(no, -torch.inf)
    return low.amin(-2), high.amax(-2)
