"""docs/evidence/full_size.md, from the CSV files beside it."""

import csv
from pathlib import Path

from evidence.tables import markdown

STEPS, SESSION = "full_size.csv", "full_size_session.csv"
FIGURES = {"ratio": ".3f", "extra_gb": ".3f", "value": ".3g"}  # as they are shown


def rows_of(path: Path) -> list[dict]:
    """Those that were measured before."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) if k in FIGURES else v for k, v in row.items()} for row in rows]


def write_page(folder: Path) -> None:
    """Write full_size.md of what was measured so far."""
    tables = [table(rows) for name in (STEPS, SESSION) if (rows := rows_of(folder / name))]
    (folder / "full_size.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")


def table(rows: list[dict]) -> str:
    """In Markdown."""
    return markdown([{k: format(v, FIGURES.get(k, "")) for k, v in row.items()} for row in rows])
