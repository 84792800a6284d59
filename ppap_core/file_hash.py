"""SHA-256 of files, read in blocks: checkpoints are larger than memory."""

import hashlib
from pathlib import Path

BLOCK = 1 << 24


def file_sha256(path: Path) -> str:
    """The SHA-256 of the file at `path`: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
