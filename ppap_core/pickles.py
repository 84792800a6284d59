"""Pickled weights, read with weights_only: tensors, and no code runs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NESTED = ("state_dict", "model_state_dict", "model", "net", "params")  # where checkpoints keep them


def read_pickle(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a pickled file, memory-mapped if its format allows that; {} if it has none.

    A truncated file makes torch raise EOFError, other damage UnpicklingError or RuntimeError.
    """
    settings = {"map_location": "cpu", "weights_only": True}
    try:
        loaded = torch.load(path, mmap=True, **settings)
    except RuntimeError:
        loaded = torch.load(path, **settings)
    return _tensors(loaded)


def _tensors(loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        return {}
    found = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    return found or next((_tensors(loaded[name]) for name in NESTED if name in loaded), {})
