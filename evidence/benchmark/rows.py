"""The rows of the tables that have been measured, kept in a CSV file for each table."""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

from evidence.quality import Quality

QUALITY = Quality._fields
MEASURED = {  # table: its figures
    "noisy": ("value",),
    "class": ("value", "self", *QUALITY),
    "depth": ("value", *QUALITY),
    "segmentation": ("value", *QUALITY),
    "ablations": ("value", "self", *QUALITY),
    "latent": ("value", "self", *QUALITY),
}


@dataclass(frozen=True)
class Key:
    """What identifies a row. `scale`: in the rule "relative"; in the table "noisy" a timestep.

    `noise`: "report", or "tuning" for rows that only serve to choose a scale. `n`: how many
    pictures.
    """

    budget: str
    guider: str
    method: str
    sampler: str
    scale: float
    training_seed: int
    noise: str
    n: int


class Tables:
    """The rows measured so far, in a CSV file for each table.

    A row is only known by its key: if you change what a budget or a method means, delete its rows.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows: dict[str, dict[Key, dict]] = {table: {} for table in MEASURED}
        for table, rows in self.rows.items():
            if self._file(table).exists():
                with self._file(table).open(newline="", encoding="utf-8") as file:
                    rows.update(_parse(line) for line in csv.DictReader(file))

    def _file(self, table: str) -> Path:
        return self.folder / f"{table}.csv"

    def add(self, table: str, key: Key, found: dict) -> None:
        """Append a row to its file. `found`: a value for each name in MEASURED[table]."""
        self.rows[table][key] = found
        is_new = not self._file(table).exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file(table).open("a", newline="", encoding="utf-8") as file:
            values = asdict(key) | {name: f"{found[name]:.5g}" for name in MEASURED[table]}
            writer = csv.DictWriter(file, list(values))
            if is_new:
                writer.writeheader()
            writer.writerow(values)

    def find(self, table: str, **wanted) -> dict[Key, dict]:
        """The rows whose keys have these values."""
        return {
            key: found
            for key, found in self.rows[table].items()
            if all(getattr(key, name) == value for name, value in wanted.items())
        }


def _parse(line: dict) -> tuple[Key, dict]:
    kinds = Key.__annotations__
    key = Key(**{name: kinds[name](line.pop(name)) for name in kinds})
    return key, {name: float(value) for name, value in line.items()}
