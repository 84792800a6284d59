"""How long actions take, side by side."""

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(actions: dict[Key, Callable[[], object]], repeats: int) -> dict[Key, float]:
    """Median seconds of each action, all measured in turns after one warm-up."""
    times = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            spent = seconds(action)
            if repeat:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}
