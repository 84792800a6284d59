"""How a setting is declared: its default, help text, choices and limits, in one place.

The command line's flags and the checks both read these declarations.
"""

import math
import operator
from dataclasses import Field, field, fields
from typing import Any

LIMITS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


LARGEST_SEED = 2**63 - 1  # torch's, with room for those that count up from it

TYPES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


def setting(default: Any, help: str, *, choices: tuple[str, ...] = (), **limits: float) -> Any:
    """A dataclass field. `limits`: at_least, above, at_most, below."""
    named = {name.replace("_", " "): limit for name, limit in limits.items()}
    assert named.keys() <= LIMITS.keys(), named
    return field(default=default, metadata={"help": help, "choices": choices, "limits": named})


def check_settings(settings) -> None:
    """ValueError, naming the setting, unless all have their type and keep to their limits.

    Numbers get the declared type, so that 1 and 1.0 are the same setting.
    """
    for entry in fields(settings):
        if not entry.metadata:
            continue
        name, value = entry.name, _typed(entry, getattr(settings, entry.name))
        object.__setattr__(settings, name, value)  # the dataclasses are frozen
        choices, limits = entry.metadata["choices"], entry.metadata["limits"]
        if choices and value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, got {value!r}")
        if not all(LIMITS[words](value, limit) for words, limit in limits.items()):
            wanted = " and ".join(f"{words} {limit}" for words, limit in limits.items())
            raise ValueError(f"{name} has to be {wanted}, got {value}")


def is_finite(number: float) -> bool:
    """Also of a whole number that is too large to be a float."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _typed(entry: Field, value: Any) -> Any:
    """`value` in the type of the field `entry`. ValueError if it is of another kind."""
    fits = isinstance(value, entry.type)
    if entry.type in (int, float):  # a bool is an int for Python, not for a person
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and is_finite(value) and entry.type(value) == value
    if not fits:
        raise ValueError(f"{entry.name} has to be {TYPES[entry.type]}, got {value!r}")
    return entry.type(value)
