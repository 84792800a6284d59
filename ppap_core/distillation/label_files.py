"""The file that says which class each picture shows."""

from collections.abc import Collection
from pathlib import Path

from ..names import plain, same_path
from ..text_files import Rows, read_json, read_rows

CLASS_COLUMNS = ("class", "label", "class_name", "class name", "category", "target")


def read_classes(path: Path, files: list[str]) -> list[str]:
    """The class of each of `files`, as `path` writes it.

    `path`: JSON, an object file -> class; or a table, with or without a header, in which one column
    has the files. Its classes are in the column that the header calls so (CLASS_COLUMNS), else in
    the next one. ValueError if a file is not in it.
    """
    wanted = [same_path(file) for file in files]
    classes = _from_json(path) if path.suffix.lower() == ".json" else _from_table(path, set(wanted))
    if missing := [file for file, name in zip(files, wanted, strict=True) if name not in classes]:
        raise ValueError(
            f"{path} has no label for {len(missing)} pictures, the first is {missing[0]}: one line "
            f"per picture, file,class"
        )
    return [classes[name] for name in wanted]


def _from_json(path: Path) -> dict[str, str]:
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise ValueError(f"{path} is no JSON object of files and classes: {{file: class, ...}}")
    return {same_path(file): str(name) for file, name in entries.items()}


def _from_table(path: Path, wanted: Collection[str]) -> dict[str, str]:
    rows = read_rows(path, lambda rows: _best_column(rows, wanted)[0])
    _, of_file = _best_column(rows, wanted)
    header = [plain(cell) for cell in rows[0]] if rows else []
    named = [header.index(name) for name in CLASS_COLUMNS if name in header]
    of_class = next((i for i in named if i != of_file), of_file + 1)
    if of_file > 0 and all(len(row) <= of_class for row in rows):  # the classes come first
        of_class = of_file - 1
    last = max(of_file, of_class)
    return {same_path(row[of_file]): row[of_class] for row in rows if len(row) > last}


def _best_column(rows: Rows, wanted: Collection[str]) -> tuple[int, int]:
    """(how many of `wanted` the column has that has most of them, which one that is)."""
    counts = [
        sum(len(row) > column and same_path(row[column]) in wanted for row in rows)
        for column in range(max((len(row) for row in rows), default=1))
    ]
    best = max(counts)
    return best, counts.index(best)
