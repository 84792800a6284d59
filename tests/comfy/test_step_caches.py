"""EasyCache and LazyCache beside guidance on the demo's Flux: as many pictures are as asked."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = 30


@pytest.mark.slow
def test_a_step_cache_costs_guidance_what_it_costs_without(tmp_path):
    command = [sys.executable, "-m", "evidence.step_caches"]
    flags = ["--pictures", str(PICTURES), "--output", str(tmp_path)]
    subprocess.run([*command, *flags], cwd=ROOT, check=True, capture_output=True)
    with (tmp_path / "caches.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    unguided = {row["cache"]: row for row in rows if row["jacobian"] == "not guided"}
    alone = {row["jacobian"]: row for row in rows if row["cache"] == "-"}
    beside = [row for row in rows if row["cache"] != "-" and row["jacobian"] != "not guided"]
    assert len(beside) == 12
    for row in beside:
        cost = 1 - float(unguided[row["cache"]]["kept"])
        expected = float(alone[row["jacobian"]]["as asked"]) - cost
        assert float(row["as asked"]) >= expected - 2 / PICTURES, row
        skipped, without = (float(r["skipped of 12"]) for r in (row, unguided[row["cache"]]))
        assert without > 0 and abs(skipped - without) <= 2, row
