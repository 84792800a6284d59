"""docs/evidence/photographs.md, .csv and .png."""

from pathlib import Path

from evidence.photographs.study import Study


def write_report(study: Study, output: Path) -> None:
    """From what was measured so far."""
