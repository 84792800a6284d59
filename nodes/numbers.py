"""Rows of numbers, as people type them into a widget."""

import math
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Number = TypeVar("Number", int, float)
BETWEEN = r"[\s,;、]+"


def read_numbers(text: str, kind: Callable[[str], Number], expected: str) -> list[Number]:
    """Finite ones; wide digits and commas count too. ValueError says what was `expected`."""
    words = re.split(BETWEEN, unicodedata.normalize("NFKC", text).strip())
    with suppress(ValueError, OverflowError):
        numbers = [kind(word) for word in words if word]
        if all(map(math.isfinite, numbers)):
            return numbers
    raise ValueError(f"{expected}; got {text!r}")
