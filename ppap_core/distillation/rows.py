"""Tensors with a row for each picture, which stay on disk: only the rows of a batch are in memory.

The files are opened for each read and closed after it: a file that stays mapped counts as the
process's memory as far as it was read, and Windows cannot replace it.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from numpy.lib import format as npy
from torch import Tensor

from ..atomic import naming
from ..errors import one_line


class Rows(Protocol):
    """(N, ...): a Tensor, or a file that reads as one. Indexed by rows (B,), or a slice of them."""

    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Tensor | slice) -> Any: ...


def _checksums(rows: numpy.ndarray) -> list[int]:
    """Of each row's type, shape and values."""
    kind = zlib.crc32(f"{rows.dtype.str} {rows.shape[1:]}".encode())
    return [zlib.crc32(row.tobytes(), kind) for row in rows]


def _mapped(path: Path) -> numpy.ndarray:
    """The rows in `path`. OSError if it cannot be read, ValueError if it is something else."""
    try:
        mapped = numpy.load(path, mmap_mode="r")
        if mapped.dtype.names != ("row", "checksum") or mapped.ndim != 1:
            raise ValueError("it holds no rows with checksums")
    except OSError:
        raise
    except Exception as error:  # a damaged header can raise anything
        raise _damaged(path, one_line(error)) from None
    return mapped


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged ({reason}): delete it, and it is made again")


@dataclass(frozen=True)
class RowFile:
    """Rows `begin` to `end` of a file of RowWriter: indexed by rows (B,), a Tensor; by a slice,
    another RowFile. ValueError, naming the file, if a row is not what was written.
    """

    path: Path
    begin: int
    end: int

    @classmethod
    def whole(cls, path: Path) -> "RowFile":
        """All rows. ValueError or OSError if `path` is no such file."""
        return cls(path, 0, len(_mapped(path)))

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def shape(self) -> Sequence[int]:
        return len(self), *_mapped(self.path).dtype["row"].shape

    @property
    def dtype(self) -> torch.dtype:
        return self[torch.arange(0)].dtype

    def __getitem__(self, rows: Tensor | slice) -> Any:
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(len(self))
            return RowFile(self.path, self.begin + begin, self.begin + max(begin, end))
        found = numpy.take(_mapped(self.path), (rows + self.begin).numpy(), axis=0)
        if _checksums(found["row"]) != found["checksum"].tolist():
            raise _damaged(self.path, "a checksum is wrong")
        return torch.from_numpy(numpy.ascontiguousarray(found["row"]))


class RowWriter:
    """Appends rows to a .npy file whose number of rows is not known beforehand, with checksums.

    `num`: rows in it. Those that it has when it is opened and that lie after `num` are replaced.
    """

    def __init__(self, path: Path, num: int = 0):
        self.path, self.num = path, num

    def append(self, rows: Tensor) -> None:
        """Add `rows` (B, ...), all of one shape and type; they are on the disk afterwards."""
        array = rows.numpy()
        layout = [("row", array.dtype, array.shape[1:]), ("checksum", "<u4")]
        lines = numpy.empty(len(array), layout)
        lines["row"], lines["checksum"] = array, _checksums(array)
        if self.num and _mapped(self.path).dtype != lines.dtype:
            raise ValueError(f"{self.path} holds rows of another size than {array.shape[1:]}")
        header = {"descr": npy.dtype_to_descr(lines.dtype), "fortran_order": False}
        header["shape"] = (self.num + len(lines),)
        with naming(self.path), self.path.open("r+b" if self.num else "wb") as file:
            npy.write_array_header_1_0(file, header)  # always as long: padded to whole blocks
            file.seek(self.num * lines.itemsize, os.SEEK_CUR)
            file.write(lines.tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self.num += len(lines)
