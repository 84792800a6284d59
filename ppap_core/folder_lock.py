"""One training at a time in a folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, OWNER = ".training.lock", ".training.pid"


@contextmanager
def only_training_in(folder: Path | str) -> Iterator[None]:
    """Inside, no other training may work in `folder`. RuntimeError if one already does.

    The operating system holds the lock and releases it when the process ends in whatever way: a
    killed training blocks nobody. The empty lock file stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another training works in {folder} ({_owner(owner)}): wait until it has ended, stop "
            f"it, or choose another name or run folder"
        ) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return "it has just begun"
