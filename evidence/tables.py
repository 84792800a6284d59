"""Tables as CSV files and as Markdown."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")


def markdown(rows: list[dict[str, str]]) -> str:
    """A column for every name that a row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in rows]
    return "\n".join(lines)


def read_rows(kind: type[Row], path: Path) -> list[Row]:
    """What `write_csv` wrote of the fields of the dataclass `kind`; nothing without a file."""
    if not path.exists():
        return []
    types = kind.__annotations__
    with path.open(newline="", encoding="utf-8") as file:
        return [
            kind(**{name: types[name](text) for name, text in row.items()})
            for row in csv.DictReader(file)
        ]


def read_table(path: Path, text: Collection[str]) -> list[dict]:
    """The rows of a CSV file; nothing without it. All columns but those of `text` are numbers."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v if k in text else float(v) for k, v in row.items()} for row in rows]


def write_csv(rows: list[dict], path: Path) -> None:
    """All rows have the names of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_table(rows: list[dict], path: Path) -> str:
    """Write names and figures to path.csv and path.md; returns the Markdown."""
    write_csv(rows, path.with_suffix(".csv"))
    shown = [
        {name: f"{v:.3f}" if isinstance(v, float) else str(v) for name, v in row.items()}
        for row in rows
    ]
    path.with_suffix(".md").write_text(markdown(shown) + "\n", encoding="utf-8")
    return markdown(shown)
