"""Tensors with a row for each picture, which stay on disk: only the rows of a batch are in memory.

The files are opened for each read and closed after it: a file that stays mapped counts as the
process's memory as far as it was read, and Windows cannot replace it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from numpy.lib import format as npy
from torch import Tensor

from ..atomic import naming


class Rows(Protocol):
    """(N, ...): a Tensor, or a file that reads as one. Indexed by rows (B,), or a slice of them."""

    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Tensor | slice) -> Any: ...


@dataclass(frozen=True)
class RowFile:
    """Rows `begin` to `end` of a .npy file (M, ...): indexed by rows (B,), a Tensor; by a slice,
    another RowFile.
    """

    path: Path
    begin: int
    end: int

    @classmethod
    def whole(cls, path: Path) -> "RowFile":
        """All rows. ValueError or OSError if `path` is no such file."""
        return cls(path, 0, len(numpy.load(path, mmap_mode="r")))

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def shape(self) -> Sequence[int]:
        return len(self), *numpy.load(self.path, mmap_mode="r").shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        return self[torch.arange(0)].dtype

    def __getitem__(self, rows: Tensor | slice) -> Any:
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(len(self))
            return RowFile(self.path, self.begin + begin, self.begin + max(begin, end))
        mapped = numpy.load(self.path, mmap_mode="r")
        return torch.from_numpy(numpy.take(mapped, (rows + self.begin).numpy(), axis=0))


class RowWriter:
    """Appends rows to a .npy file whose number of rows is not known beforehand.

    `num`: rows in it. Those that it has when it is opened and that lie after `num` are replaced.
    """

    def __init__(self, path: Path, num: int = 0):
        self.path, self.num = path, num

    def append(self, rows: Tensor) -> None:
        """Add `rows` (B, ...), all of one shape and type; they are on the disk afterwards."""
        array = rows.contiguous().numpy()
        if self.num and RowFile.whole(self.path).shape[1:] != array.shape[1:]:
            raise ValueError(f"{self.path} holds rows of another size than {array.shape[1:]}")
        header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False}
        header["shape"] = (self.num + len(array), *array.shape[1:])
        with naming(self.path), self.path.open("r+b" if self.num else "wb") as file:
            npy.write_array_header_1_0(file, header)  # always as long: padded to whole blocks
            file.seek(self.num * array[:1].nbytes, os.SEEK_CUR)
            file.write(array.tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self.num += len(array)
