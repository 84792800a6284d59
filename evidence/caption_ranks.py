"""The rank of the asked caption among 100, by judges that guide nothing, as in retrieval."""

import torch
from torch import Tensor

from demo.captions import COLOURS, Seen, seen_hues
from demo.judges import load_judge
from demo.paths import JUDGE

NUM = 100  # captions, of which one is the asked
SPREAD = 0.01  # turns: how far the hue of a render is seen from the true one, at most


def caption_ranks(pictures: Tensor, asked: Seen, pool: Seen) -> Tensor:
    """(N,): from 1, the best, to NUM. `asked`: the captions of pictures (N, 3, 32, 32).

    The others are the first of `pool` that are different. A caption is as likely as its colour, its
    shape and its floor together.
    """
    others = _distinct(pool)
    logs = _log_probabilities(pictures)
    columns = zip(logs, vars(asked).values(), vars(others).values(), strict=True)
    both = [(log.gather(1, own[:, None]), log[:, each]) for log, own, each in columns]
    own, each = (sum(parts) for parts in zip(*both, strict=True))
    same = (_numbers(asked)[:, None] == _numbers(others)).long()
    order = same.argsort(dim=1, stable=True)[:, : NUM - 1]  # those that are different come first
    return 1 + (each.gather(1, order) > own).sum(1)


def _numbers(seen: Seen) -> Tensor:
    """One number for each caption."""
    return (seen.colour * 100 + seen.shape) * 100 + seen.floor


def _distinct(pool: Seen) -> Seen:
    """The first NUM captions that differ from all before them. ValueError for fewer."""
    first = {number: row for row, number in reversed(list(enumerate(_numbers(pool).tolist())))}
    rows = sorted(first.values())[:NUM]
    if len(rows) < NUM:
        raise ValueError(f"{NUM} different captions are needed, the pool has {len(rows)}")
    return pool[torch.tensor(rows)]


@torch.no_grad()
def _log_probabilities(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each colour, each shape and each floor: (N, number of them)."""
    colour, floor = map(_log_colours, seen_hues(pictures))
    return colour, load_judge(JUDGE)(pictures).log_softmax(1), floor


def _log_colours(hue: Tensor) -> Tensor:
    """Hues in turns (N,) -> (N, colours): Gaussians of how far a hue is from those of a colour."""
    ends = torch.tensor(list(COLOURS.values()))
    width = (ends - ends.roll(1)) % 1
    middle = ends - width / 2
    apart = ((hue[:, None] - middle + 0.5) % 1 - 0.5).abs()
    return (-((apart - width / 2).clamp(min=0) / SPREAD).square() / 2).log_softmax(1)
