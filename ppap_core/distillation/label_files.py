"""The file that says which class each picture shows."""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import one_line
from ..names import plain, same_path
from ..text_files import SEPARATORS, Rows, read_json, read_rows, read_text

CLASS_COLUMNS = (
    *("class", "label", "class_name", "class name", "category", "target"),
    *("labels", "classes", "class_id", "class id", "label_id", "y"),
)
BETWEEN_COLUMNS = f"{SEPARATORS} "  # a space: lists of ImageNet's kind, a.png 3
FINDS: tuple[Callable[[str], str], ...] = (  # ways in which a label's file is a picture's
    same_path,
    lambda file: PurePosixPath(same_path(file)).name.casefold(),
    lambda file: PurePosixPath(same_path(file)).stem.casefold(),
)


def read_classes(path: Path, files: list[str]) -> list[str]:
    """The class of each of `files`, as `path` writes it.

    `path`: JSON, an object file -> class or a list of objects, also one object a line (.jsonl); or
    a table, with or without a header, in which one column has the files. Its classes are in the
    column that the header calls so (CLASS_COLUMNS), else in the only other one beside it. Files
    stand there with their path, or, where that is enough to tell them apart, by name alone, with or
    without its ending. ValueError if a file is not in it, or has several classes.
    """
    read = _reader(path)
    first_missing: list[str] = []
    for find in FINDS:
        wanted = [find(file) for file in files]
        if len(set(wanted)) < len(set(files)):
            continue  # several pictures would be one
        classes = read(find, wanted)
        missing = [file for file, name in zip(files, wanted, strict=True) if name not in classes]
        if not missing:
            return [classes[name] for name in wanted]
        first_missing = first_missing or missing
    raise ValueError(
        f"{path} has no label for {len(first_missing)} pictures, the first is {first_missing[0]}: "
        f"one line per picture, file,class"
    )


def _reader(path: Path) -> Callable[[Callable, Collection[str]], dict[str, str]]:
    """How to find pictures in `path` and read their classes."""
    kind = path.suffix.lower()
    if kind not in (".json", ".jsonl"):

        def read(find: Callable[[str], str], wanted: Collection[str]) -> dict[str, str]:
            rows = read_rows(path, lambda rows: _best(rows, find, wanted)[0], BETWEEN_COLUMNS)
            return _from_table(path, rows, find, wanted)

        return read
    entries = read_json(path) if kind == ".json" else _json_lines(path)
    if isinstance(entries, dict):
        entries = [{"file": file, "class": name} for file, name in entries.items()]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} is no JSON object of files and classes: {{file: class, ...}}")
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    rows = [columns, *([_cell(entry.get(name, "")) for name in columns] for entry in entries)]
    return lambda find, wanted: _from_table(path, rows, find, wanted)


def _json_lines(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in read_text(path).splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has lines that are not JSON: {one_line(error)}") from None


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)


def _from_table(
    path: Path, rows: Rows, find: Callable[[str], str], wanted: Collection[str]
) -> dict[str, str]:
    """File, as `find` gives it -> class; nothing by `find` alone where some are not there."""
    num, of_file = _best(rows, find, wanted)
    if not num or (find is not same_path and num < len(set(wanted))):
        return {}
    of_class = _class_column(path, rows, of_file)
    classes: dict[str, str] = {}
    for row in (row for row in rows if len(row) > max(of_file, of_class)):
        file, name = find(row[of_file]), re.sub(r"^(\d+)\.0$", r"\1", row[of_class].strip())
        if file in wanted and plain(classes.setdefault(file, name)) != plain(name):
            raise ValueError(f"{path} gives {row[of_file]} two classes, {classes[file]} and {name}")
    return {file: name for file, name in classes.items() if name}


def _class_column(path: Path, rows: Rows, of_file: int) -> int:
    """ValueError where several columns may have the classes and the header does not tell."""
    header = [plain(cell) for cell in rows[0]] if rows else []
    named = [header.index(name) for name in CLASS_COLUMNS if name in header]
    if (of_class := next((i for i in named if i != of_file), None)) is not None:
        return of_class
    width = max((len(row) for row in rows), default=1)
    if width > of_file + 2:
        raise ValueError(
            f"{path} has {width - of_file - 1} columns after the files, and its first line does "
            f"not say which has the classes: call that one class"
        )
    # With nothing after them, the classes come before the files.
    return of_file - 1 if of_file > 0 and width <= of_file + 1 else of_file + 1


def _best(rows: Rows, find: Callable[[str], str], wanted: Collection[str]) -> tuple[int, int]:
    """(how many of `wanted` the column has that has most of them, which one that is)."""
    known = set(wanted)
    counts = [
        len({find(row[column]) for row in rows if len(row) > column} & known)
        for column in range(max((len(row) for row in rows), default=1))
    ]
    best = max(counts)
    return best, counts.index(best)
