"""Browsing the classes that a guider knows."""

import difflib
from collections import Counter
from collections.abc import Sequence

from ..names import plain
from .class_names import by_synonym


def search_classes(text: str, labels: Sequence[str]) -> list[int]:
    """Indices of the classes whose label holds every word of `text`; all where it is empty.

    Words are compared as in `find_class`.
    """
    words, names = plain(text).split(), map(plain, labels)
    return [i for i, name in enumerate(names) if all(word in name for word in words)]


def nearest_classes(text: str, labels: Sequence[str]) -> list[int]:
    """Indices of at most ten classes with a synonym that is spelt nearly like `text`."""
    synonyms = by_synonym(labels)
    near = difflib.get_close_matches(plain(text), synonyms, n=10, cutoff=0.5)
    return sorted({synonyms[name] for name in near})


def list_classes(text: str, labels: Sequence[str], most: int = 30) -> tuple[str, str]:
    """The labels that `text` finds, one per line, and a heading with `most` of them and numbers.

    Where no label has the words of `text`, the nearest ones. In place of a label that several
    classes have, its number: `find_class` finds each line's own class.
    """
    total = f"{len(labels)} classes"
    if found := search_classes(text, labels):
        heading = f"{len(found)} of {total} for {text.strip()!r}" if text.strip() else total
    elif found := nearest_classes(text, labels):
        heading = f"none of {total} has {text.strip()!r} in its name; the nearest are"
    else:
        heading = f"none of {total} is called like {text.strip()!r}"
    lines = [heading, *(f"{index}: {labels[index]}" for index in found[:most])]
    if len(found) > most:
        lines.append(f"... and {len(found) - most} more, which the output has: search for words")
    times = Counter(labels)
    names = (labels[i] if times[labels[i]] == 1 else str(i) for i in found)
    return "\n".join(names), "\n".join(lines)
