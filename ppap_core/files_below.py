"""The files in a folder and all folders below it, linked ones too."""

import os
from collections.abc import Iterator
from pathlib import Path

JUNK = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini"}


def files_below(root: Path) -> Iterator[Path]:
    """Every file below `root`, sorted within each folder; nothing if `root` is no folder.

    Links are followed, a link to a folder that it lies in is not. Left out is what people do not
    see as theirs: names that begin with a point, and what systems and servers add (JUNK).
    """
    yield from _walk(Path(root), frozenset())


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """`above`: where the folders that `folder` lies in really are."""
    above |= {os.path.realpath(folder)}
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # no folder, or none of ours to read
        return
    for path in entries:
        if path.name.startswith(".") or path.name.lower() in JUNK:
            continue
        if os.path.isfile(path):  # Path.is_file raises where we may not look
            yield path
        elif os.path.isdir(path) and os.path.realpath(path) not in above:
            yield from _walk(path, above)
