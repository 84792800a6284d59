"""Checksums: what a training reads again is what it wrote, or is known to be damaged.

They stand in the files that no person edits: records in JSON, latents, estimates, the state.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ..atomic import save_safetensors
from ..errors import one_line
from ..expert_file import hash_tensors

CHECKSUM, RECIPE = "checksum", "recipe"


def seal(record: dict) -> dict:
    """`record`, which JSON can hold, with its checksum."""
    return record | {CHECKSUM: _of_json(record)}


def unseal(found: object) -> dict:
    """The record that `seal` was given. ValueError if `found` is something else."""
    record = dict(found) if isinstance(found, dict) else {}
    if record.pop(CHECKSUM, None) != _of_json(record):
        raise ValueError("its checksum is wrong")
    return record


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of their names, types, shapes and values."""
    kinds = [[name, str(t.dtype), list(t.shape)] for name, t in sorted(tensors.items())]
    return _of_json([kinds, hash_tensors(tensors)])


def _of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def save_rows(tensors: dict[str, Tensor], path: Path, recipe: Mapping[str, Any]) -> None:
    """Write `tensors`, each (N, ...), and a checksum of each of their rows: for `open_rows`.

    `recipe`: how they were made, as JSON can hold it.
    """
    checksums = {name: " ".join(_of_rows(rows)) for name, rows in tensors.items()}
    save_safetensors(tensors, path, checksums | {RECIPE: json.dumps(recipe)})


def _of_rows(rows: Tensor) -> list[str]:
    return [tensors_checksum({"": row}) for row in rows]


class CheckedRows:
    """The tensors of a file that `save_rows` wrote."""

    def __init__(self, file: safe_open, recipe: Mapping[str, Any]):
        """ValueError if it was made by another `recipe`."""
        self._file, self._checksums = file, file.metadata()
        made = json.loads(self._checksums[RECIPE])
        for name in sorted(made.keys() | recipe.keys()):
            if made.get(name) != recipe.get(name):
                raise ValueError(
                    f"it was made with {name} {made.get(name)!r}, its picture with "
                    f"{recipe.get(name)!r}"
                )

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        """(type, shape), without reading it."""
        found = self._file.get_slice(name)
        return found.get_dtype(), tuple(found.get_shape())

    def read(self, name: str, rows: slice = slice(None)) -> Tensor:
        """Rows of a tensor, copied. ValueError if they are not those that were written."""
        found = self._file.get_slice(name)[rows].clone()
        if _of_rows(found) != self._checksums[name].split()[rows]:
            raise ValueError(f"the checksum of {name} is wrong")
        return found


@contextmanager
def open_rows(path: Path, recipe: Mapping[str, Any]) -> Iterator[CheckedRows]:
    """What `save_rows` wrote by this `recipe`.

    Inside, whatever a missing, damaged or other file raises is a ValueError that names it.
    """
    try:
        with safe_open(path, "pt") as file:
            yield CheckedRows(file, recipe)
    except Exception as error:  # a damaged header or tensor can raise anything
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from None
