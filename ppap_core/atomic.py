"""Files that are either whole or not there: written beside their name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def replace_file(path: Path | str) -> Iterator[Path]:
    """A path to write to; renamed to `path` if all went well, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_safetensors(
    tensors: dict[str, Tensor], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Write `tensors` to `path`; a crash or a full disk leaves the former file untouched."""
    with replace_file(path) as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata)
