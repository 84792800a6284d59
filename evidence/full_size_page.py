"""docs/evidence/full_size.md, from the CSV files beside it."""

from pathlib import Path

from evidence.tables import markdown, read_table

STEPS, SESSION = "full_size.csv", "full_size_session.csv"
TEXT = (
    *("model", "size", "batch", "cfg", "input", "view", "jacobian", "guider", "device"),
    *("measure", "unit"),
)
FIGURES = {"ratio": ".3f", "extra_gb": ".3f", "value": ".3g"}  # as they are shown


def rows_of(path: Path) -> list[dict]:
    """Those that were measured before."""
    return read_table(path, TEXT)


def write_page(folder: Path) -> None:
    """Write full_size.md of what was measured so far."""
    tables = [table(rows) for name in (STEPS, SESSION) if (rows := rows_of(folder / name))]
    (folder / "full_size.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")


def table(rows: list[dict]) -> str:
    """In Markdown."""
    return markdown([{k: format(v, FIGURES.get(k, "")) for k, v in row.items()} for row in rows])
