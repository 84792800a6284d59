"""How a setting is declared: its default, help text, choices and limits, in one place.

The command line's flags and the checks both read these declarations.
"""

import operator
from dataclasses import field, fields
from typing import Any

LIMITS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def setting(default: Any, help: str, *, choices: tuple[str, ...] = (), **limits: float) -> Any:
    """A dataclass field. `limits`: at_least, above, at_most, below."""
    named = {name.replace("_", " "): limit for name, limit in limits.items()}
    assert named.keys() <= LIMITS.keys(), named
    return field(default=default, metadata={"help": help, "choices": choices, "limits": named})


def check_settings(settings) -> None:
    """ValueError, naming the setting, unless all have their type and keep to their limits."""
    for entry in fields(settings):
        if not entry.metadata:
            continue
        name, value = entry.name, getattr(settings, entry.name)
        if not isinstance(value, (int, float) if entry.type is float else entry.type):
            raise ValueError(f"{name} has to be of type {entry.type.__name__}, got {value!r}")
        choices, limits = entry.metadata["choices"], entry.metadata["limits"]
        if choices and value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, got {value!r}")
        if not all(LIMITS[words](value, limit) for words, limit in limits.items()):
            wanted = " and ".join(f"{words} {limit}" for words, limit in limits.items())
            raise ValueError(f"{name} has to be {wanted}, got {value}")
