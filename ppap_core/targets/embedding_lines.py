"""What is asked of an embedding model, as a user types it: one text on each line, with a weight."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..names import plain
from .embedding_target import LOGIT_SCALE, EmbeddingTarget
from .wording import listed

if TYPE_CHECKING:
    from ..guiders import Guider

Line = tuple[str, float]  # a text and its weight
Column = tuple[Tensor, Tensor]  # embeddings (1 or R, D) and weights (1 or R,), one for each row
# What follows the last colon is a weight if it is a number, else it belongs to the text.
WEIGHTED = re.compile(r"(.*)[:：]\s*([-+−－]?[\d.,]+)")


def parse_lines(text: str) -> list[Line]:
    """Read lines such as "a red cone:2" or "fog:-1"; without a weight it is 1."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [_parse(line) for line in lines if line]


def _parse(line: str) -> Line:
    if (found := WEIGHTED.fullmatch(line)) is None:
        return line, 1.0
    number = plain(found[2]).replace("\N{MINUS SIGN}", "-").replace(",", ".")
    try:
        text, weight = found[1].strip(), float(number)
    except ValueError:
        return line, 1.0
    if not text:
        raise ValueError(f"the line {line!r} has a weight but no text: write the text before it")
    if not weight:
        raise ValueError(f"the line {line!r} has the weight 0: delete it, or change its weight")
    return text, weight


def build_embedding_target(
    guider: "Guider",
    text: str,
    away_from: str,
    references: Tensor | None = None,
    reference_weight: float = 1.0,
    line_per_picture: bool = False,
) -> tuple[EmbeddingTarget, str]:
    """The target, and in a few lines what is asked for.

    `text`, `away_from`: as of `parse_lines`. `references`: the guider's answers to pictures (P, D),
    which share `reference_weight`. `line_per_picture`: each line of `text`, and each reference, is
    for one picture of the batch. ValueError, in one line, for texts that the guider cannot read,
    for no texts and no references, and for numbers of them that differ.
    """
    wanted = parse_lines(text)
    unwanted = [(line, -abs(weight)) for line, weight in parse_lines(away_from)]
    lines, num = [*wanted, *unwanted], len(wanted)
    pictures = _picture_columns(references, reference_weight, line_per_picture)
    if not lines and not pictures:
        raise ValueError(
            "nothing is asked for: write a line into the widget text or away_from, or connect a "
            "picture to the socket image"
        )
    read, notes = _read(guider, [line for line, _ in lines])
    weights = torch.tensor([weight for _, weight in lines])
    words = _columns(read[:num], weights[:num], line_per_picture)
    words += _columns(read[num:], weights[num:], together=False)
    embeddings, weights = _rows(words + pictures)
    target = EmbeddingTarget(
        embeddings,
        weights,
        names=_names(lines, len(pictures)) if len(weights) == 1 else (),
        num_words=len(words),
        scale=guider.words.scale if guider.words else LOGIT_SCALE,
        bias=guider.words.bias if guider.words else None,
        made_for=guider.info.fingerprint,
    )
    return target, "\n".join(
        [*_told(lines, len(references) if pictures else 0, reference_weight), *notes]
    )


def _names(lines: Sequence[Line], num_references: int) -> list[str]:
    references = [f"reference {i + 1}" for i in range(num_references)]
    if num_references == 1:
        references = ["the reference"]
    return [*(f'"{text}"' for text, _ in lines), *references]


def _read(guider: "Guider", texts: list[str]) -> tuple[Tensor, list[str]]:
    """Unit vectors (N, D), and notes about texts that were cut."""
    if not texts:
        return torch.empty(0, 0), []
    if guider.words is None:
        raise ValueError(
            f"{guider.info.source} ({guider.info.architecture}) cannot read words: empty text and "
            f"away_from and connect a picture to the socket image, or load a CLIP or SigLIP"
        )
    read = guider.words.read(texts)
    notes = [f'too long, so only this is read: "{kept}"' for kept in read.cut.values()]
    return read.embeddings, notes


def _columns(embeddings: Tensor, weights: Tensor, together: bool) -> list[Column]:
    """(N, D) and (N,): a column of N rows if `together`, else N columns for all rows."""
    if not len(weights):
        return []
    if together:
        return [(embeddings, weights)]
    return list(zip(embeddings.split(1), weights.split(1), strict=True))


def _picture_columns(references: Tensor | None, weight: float, together: bool) -> list[Column]:
    """Nothing of a weight of 0. References for all pictures share the weight."""
    if references is None or not weight:
        return []
    num = len(references)
    weights = torch.full((num,), weight / (1 if together else num))
    return _columns(references.cpu(), weights, together)


def _rows(columns: Sequence[Column]) -> tuple[Tensor, Tensor]:
    """(R, M, D) and (R, M). ValueError for columns of several numbers of rows."""
    numbers = sorted({len(weights) for _, weights in columns} - {1})
    if len(numbers) > 1:
        raise ValueError(
            f"with line_per_picture text and image are for {numbers[0]} and for {numbers[1]} "
            f"pictures: give as many lines as reference pictures, or one of either"
        )
    num = numbers[0] if numbers else 1
    embeddings = torch.stack([e.expand(num, -1) for e, _ in columns], 1)
    return embeddings, torch.stack([w.expand(num) for _, w in columns], 1)


def _told(lines: Sequence[Line], num_references: int, weight: float) -> list[str]:
    asked = [(f'"{text}"', share) for text, share in lines]
    if num_references:
        asked.append((f"{num_references} reference picture{'s' * (num_references > 1)}", weight))
    told = []
    for start, sign in (("asks for", 1), ("away from", -1)):
        names = [
            f"{name} (weight {abs(share):g})" if abs(share) != 1 else name
            for name, share in asked
            if sign * share > 0
        ]
        told += [f"{start} {listed(names, 'and', len(names))}"] if names else []
    return told
