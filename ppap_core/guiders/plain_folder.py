"""Model folders whose settings are in an encoding that transformers does not read."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..text_files import read_text

READ_BY_TRANSFORMERS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors.index*.json",
)


@contextmanager
def in_utf8(folder: Path) -> Iterator[Path]:
    """`folder`, or, if its settings are not in UTF-8 without a mark, a copy with such settings.

    The copy lasts as long as the `with`; weights are linked where the file system can.
    """
    settings = {path for name in READ_BY_TRANSFORMERS for path in folder.glob(name)}
    odd = {path.name: text for path in settings if (text := _text_if_odd(path)) is not None}
    if not odd:
        yield folder
        return
    with TemporaryDirectory() as place:
        copy = Path(place) / folder.name
        copy.mkdir()
        for path in filter(Path.is_file, folder.iterdir()):
            if path.name in odd:
                (copy / path.name).write_text(odd[path.name], encoding="utf-8")
            else:
                _link_or_copy(path.resolve(), copy / path.name)
        yield copy


def _text_if_odd(path: Path) -> str | None:
    text = read_text(path)
    lines = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return None if text.encode("utf-8") == lines else text


def _link_or_copy(path: Path, to: Path) -> None:
    for way in (os.symlink, os.link, shutil.copyfile):
        try:
            way(path, to)
            return
        except OSError:
            if way is shutil.copyfile:
                raise
