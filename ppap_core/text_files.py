"""Text files as people have them: any usual encoding, any line ends, any separator of columns."""

import csv
import io
import json
import logging
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import one_line

MARKS = {  # UTF-32 first: its mark for little endian begins with that of UTF-16
    BOM_UTF32_LE: "utf-32",
    BOM_UTF32_BE: "utf-32",
    BOM_UTF16_LE: "utf-16",
    BOM_UTF16_BE: "utf-16",
    BOM_UTF8: "utf-8-sig",
}
SEPARATORS = ",;\t|"  # of columns; the first is the usual one
LAYOUT = "\t\n\r\v\f\x1a"  # control characters of text; the last ends files of DOS

Rows = list[list[str]]

log = logging.getLogger(__name__)


def read_text(path: Path) -> str:
    r"""The text in `path`; lines end in "\n".

    A byte order mark decides the encoding; without one it is UTF-8, UTF-16 where every second byte
    is zero, else Windows' Latin-1 (cp1252), which a warning says. ValueError for anything else;
    OSError if the file cannot be opened.
    """
    data = path.read_bytes()
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = None
    is_guessed = encoding not in (*MARKS.values(), "utf-8")
    characters = set("\0" if text is None else text)
    if "\0" in characters or (is_guessed and any(map(_is_control, characters))):
        raise ValueError(f"{path} is no text, or damaged: save it as text in UTF-8")
    if encoding == "cp1252":
        log.warning("%s is not in UTF-8: read as Windows' Latin-1", path)
    return _unix(text)


def read_lines(path: Path) -> list[str]:
    """The lines in `path`, whatever state it is in: what cannot be decoded becomes U+FFFD."""
    data = path.read_bytes()
    return _unix(data.decode(_mark(data) or "utf-8", errors="replace")).split("\n")


def read_json(path: Path) -> Any:
    """The value in the JSON file `path`. ValueError if it is no JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {one_line(error)}") from None


def read_rows(path: Path, rate: Callable[[Rows], int], separators: str = SEPARATORS) -> Rows:
    """The rows of a CSV file, split at that one of `separators` whose rows `rate` likes best.

    ValueError if it is no text.
    """
    text = read_text(path)
    return max((_split(text, separator) for separator in separators), key=rate)


def _split(text: str, separator: str) -> Rows:
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        return [row for row in rows if row]
    except csv.Error:  # a field without end, where this is not the separator
        return []


def _encoding(data: bytes) -> str:
    if mark := _mark(data):
        return mark
    if data[:1] == b"\0" or data[1:2] == b"\0":
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _mark(data: bytes) -> str | None:
    """The encoding of which `data` begins with the byte order mark."""
    return next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in LAYOUT
