"""Targets: what a guider should say of the picture, as a log-likelihood to be raised."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassTarget:
    """One class, or a mixture of several: log sum_k weight_k p(class_k | image).

    `classes`: index -> weight, weights above 0. `temperature` divides the logits.
    """

    classes: dict[int, float]
    num_classes: int
    temperature: float = 1.0
    task = "class"

    def __post_init__(self):
        if not self.classes:
            raise ValueError("no target class given")
        for index, weight in self.classes.items():
            if not 0 <= index < self.num_classes:
                raise ValueError(
                    f"class index {index} is out of range: the guider knows 0 to "
                    f"{self.num_classes - 1}"
                )
            if not 0 < weight < math.inf:
                raise ValueError(
                    f"the weight of class {index} has to be above 0 and finite, got {weight}"
                )
        if not self.temperature > 0:
            raise ValueError(f"temperature has to be above 0, got {self.temperature}")

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: logits (B, K) -> (B,), in float32."""
        if prediction.shape[-1] != self.num_classes:
            raise ValueError(
                f"the target was made for {self.num_classes} classes, the guider answers "
                f"{prediction.shape[-1]}: connect the same guider to both nodes"
            )
        log_p = (prediction.float() / self.temperature).log_softmax(dim=-1)
        weights = torch.tensor(list(self.classes.values()), device=log_p.device)
        chosen = log_p[:, list(self.classes)] + (weights / weights.sum()).log()
        return chosen.logsumexp(dim=-1)


def parse_classes(text: str, labels: Sequence[str]) -> dict[int, float]:
    """Read "cone", "3", "cone:2, torus" or one class a line: index -> weight (default 1).

    Names are matched without case; a label may itself contain commas. ValueError for an unknown
    name, with the nearest ones.
    """
    classes: dict[int, float] = {}
    for entry in _entries(text, labels):
        name, weight = _split_weight(entry, labels)
        index = find_class(name, labels)
        classes[index] = classes.get(index, 0.0) + weight
    if not classes:
        raise ValueError("no target class given: write a class name or number")
    return classes


def find_class(name: str, labels: Sequence[str]) -> int:
    """Index of the class called `name`, or numbered so."""
    wanted = name.strip().casefold()
    whole = [label.casefold() for label in labels]
    if wanted in whole:
        return whole.index(wanted)
    synonyms: dict[str, int] = {}
    for index, label in enumerate(whole):
        for part in label.split(","):
            synonyms.setdefault(part.strip(), index)
    if wanted in synonyms:
        return synonyms[wanted]
    if re.fullmatch(r"\d+", wanted):
        if int(wanted) < len(labels):
            return int(wanted)
        raise ValueError(
            f"class index {wanted} is out of range: the guider knows 0 to {len(labels) - 1}"
        )
    near = difflib.get_close_matches(wanted, synonyms, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else _some(labels)
    raise ValueError(f"the guider has no class {name.strip()!r}: {hint}")


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:10])
    return f"it knows {len(labels)} classes: {shown}{', ...' if len(labels) > 10 else ''}"


def _entries(text: str, labels: Sequence[str]) -> list[str]:
    known = {label.casefold() for label in labels}
    entries = []
    for line in re.split(r"[;\n]", text):
        names = {name.strip().casefold() for name in (line, re.sub(r":[^:,]*$", "", line))}
        entries += [line] if names & known else line.split(",")
    return [entry.strip() for entry in entries if entry.strip()]


def _split_weight(entry: str, labels: Sequence[str]) -> tuple[str, float]:
    name, colon, weight = entry.rpartition(":")
    if not colon or entry.strip().casefold() in {label.casefold() for label in labels}:
        return entry, 1.0
    try:
        return name, float(weight)
    except ValueError:
        raise ValueError(
            f"{entry.strip()!r}: after the colon stands a weight, like cone:2"
        ) from None
