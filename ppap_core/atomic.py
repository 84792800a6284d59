"""Files that are complete or absent: written under another name, then renamed.

They reach the disk before they get their name: a power cut leaves the former file or the new one.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import SettingError, one_line


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Inside, errors of writing (a full disk) name `path`: those of an open file name nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


@contextmanager
def replace_file(path: Path | str) -> Iterator[Path]:
    """Yields a path to write to: renamed to `path` at the end, removed after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(folder: Path | str, setting: str) -> None:
    """SettingError unless files can be made in `folder`, or in where it would be made.

    Nothing is left behind. `setting`: names the folder.
    """
    folder = Path(folder).absolute()
    existing = next(parent for parent in [folder, *folder.parents] if parent.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise SettingError(
            f"nothing can be written to {existing} ({reason}): choose another place for {folder}",
            setting,
        ) from None


def save_safetensors(
    tensors: dict[str, Tensor], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write `tensors` to `path`; a crash or a full disk leaves the former file untouched.

    The same tensors and metadata always give the same bytes. OSError if there is no room.
    """
    with replace_file(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        try:
            save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # what the library makes of a full disk
            raise OSError(f"{path} cannot be written: {one_line(error)}") from None
        partial.chmod(mode)  # safetensors 0.8 takes the right to read from all but the owner
        _sort_metadata(partial)


def load_safetensors(path: Path | str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """(metadata, tensors), copied.

    safetensors' own tensors are the mapped file, and Windows neither replaces nor deletes a file
    that is mapped.
    """
    with safe_open(path, "pt") as file:
        return file.metadata() or {}, {key: file.get_tensor(key).clone() for key in file.keys()}


def _sort_metadata(path: Path) -> None:
    """Sort the header's entries, which safetensors writes in an order that changes between runs."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if metadata := header.get("__metadata__"):
            header["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same entries, written as compactly"
        file.seek(8)
        file.write(text.ljust(length))
