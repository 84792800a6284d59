"""`python -m benchmarks.<name>` runs outside of pytest: another package may hide our `tests`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_finds_what_it_imports(name):
    command = [sys.executable, "-c", f"import benchmarks.{name}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
