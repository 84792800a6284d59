"""Class names and weights as a user types them."""

import difflib
import re
from collections.abc import Sequence

from ..names import plain
from .wording import short_name

WIDE = str.maketrans("，：；", ",:;")  # what East Asian keyboards write


def parse_classes(text: str, labels: Sequence[str]) -> dict[int, float]:
    """Read "cone", "3", "cone:2, torus:-1" or one class a line: index -> weight (default 1).

    Names are compared as in `find_class`. A label of synonyms, such as ImageNet's "tench, Tinca
    tinca", is one class, whether one or several of its synonyms are typed side by side. ValueError
    for an unknown name, with the nearest ones, and for an empty `text`, with some of the `labels`.
    """
    classes: dict[int, float] = {}
    for line in re.split(r"[;\r\n]", text.translate(WIDE)):
        for name, weight in _split_entries(line, labels):
            index = find_class(name, labels)
            classes[index] = classes.get(index, 0.0) + weight
    if not classes:
        raise ValueError(f"no target class given: write its name or number; {_some(labels)}")
    return classes


def parse_class_rows(text: str, labels: Sequence[str]) -> list[dict[int, float]]:
    """`parse_classes` for every line: one line for each picture of the batch, in its order."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    return [parse_classes(line, labels) for line in lines]


def find_class(name: str, labels: Sequence[str]) -> int:
    """Index of the class that has `name` as its label, one of its synonyms or its number.

    A label that is `name` to the letter comes first, then those that are the same to a person
    (`names.plain`), those whose first synonym it is, and those that have it as another synonym.
    ValueError if there is none, or if several are equally near: ImageNet knows two cranes.
    """
    wanted = plain(name)
    if not wanted and name.strip() not in labels:
        raise ValueError(f"no class given: write its name or number; {_some(labels)}")
    if found := _nearest_named(name.strip(), wanted, labels):
        if len(found) > 1:
            raise ValueError(_ambiguous(name.strip(), found, labels))
        return found[0]
    if re.fullmatch(r"\d+", wanted):
        if int(wanted) < len(labels):
            return int(wanted)
        raise ValueError(
            f"class index {wanted} is out of range: the guider knows 0 to {len(labels) - 1}"
        )
    near = difflib.get_close_matches(wanted, by_synonym(labels), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else _some(labels)
    raise ValueError(f"the guider has no class {name.strip()!r}: {hint}")


def _nearest_named(name: str, wanted: str, labels: Sequence[str]) -> list[int]:
    """Indices of the classes that `name` names in the nearest way that any has. `wanted`: plain."""
    synonyms = [_synonyms(label) for label in labels]
    ways = (
        (label == name for label in labels),
        (plain(label) == wanted for label in labels),
        (names[0] == wanted for names in synonyms),
        (wanted in names for names in synonyms),
    )
    return next(filter(None, ([i for i, fits in enumerate(way) if fits] for way in ways)), [])


def _ambiguous(name: str, found: Sequence[int], labels: Sequence[str]) -> str:
    """ "crane" in ImageNet is a bird and a machine."""
    shown = "; ".join(f"{index} {labels[index]!r}" for index in found)
    return (
        f"{len(found)} of the guider's classes are called {name!r}: {shown}. Write the number of "
        f"the one you mean, or a name that only it has"
    )


def by_synonym(labels: Sequence[str]) -> dict[str, int]:
    """Each synonym, made `plain` -> index of the first class that has it."""
    synonyms: dict[str, int] = {}
    for index, label in enumerate(labels):
        for name in _synonyms(label):
            synonyms.setdefault(name, index)
    return synonyms


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(map(short_name, labels[:10]))
    return f"it knows {len(labels)} classes: {shown}{', ...' if len(labels) > 10 else ''}"


def _split_entries(line: str, labels: Sequence[str]) -> list[tuple[str, float]]:
    """(name, weight) of each class in `line`, which is cut at commas.

    Parts side by side that are synonyms in one label are one entry, as many as possible.
    """
    parts = [part.strip() for part in line.split(",") if part.strip()]
    longest = max(len(label.split(",")) for label in labels)
    entries = []
    while parts:
        sizes = range(min(longest, len(parts)), 1, -1)
        runs = ((size, _find_run(parts[:size], labels)) for size in sizes)
        size, entry = next(
            ((size, entry) for size, entry in runs if entry),
            (1, _split_weight(parts[0], labels)),
        )
        entries.append(entry)
        parts = parts[size:]
    return entries


def _find_run(parts: list[str], labels: Sequence[str]) -> tuple[str, float] | None:
    """(label, weight): the shortest label that has all `parts` as synonyms; None if there is none.

    The same synonym twice does not count: that is a class named twice.
    """
    *first, last = parts
    for name, weight in ((last, 1.0), _split_weight(last, labels)):
        wanted = {plain(part) for part in (*first, name)}
        fitting = [label for label in labels if wanted.issubset(_synonyms(label))]
        if fitting and len(wanted) == len(parts):
            return min(fitting, key=len), weight
    return None


def _synonyms(label: str) -> list[str]:
    return [part.strip() for part in plain(label).split(",")]


def _split_weight(entry: str, labels: Sequence[str]) -> tuple[str, float]:
    """ "cone:2" -> ("cone", 2.0); without a weight, or if the whole is a label, weight 1."""
    name, colon, weight = entry.rpartition(":")
    if not colon or plain(entry) in map(plain, labels):
        return entry, 1.0
    try:
        return name, float(plain(weight).replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        raise ValueError(
            f"{entry.strip()!r}: after the colon stands a weight, like cone:2"
        ) from None
