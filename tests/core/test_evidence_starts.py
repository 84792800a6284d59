"""`python -m evidence.<name>` runs outside of pytest: another package may hide our `tests`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "evidence").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", [*MODULES, "benchmark.__main__"])
def test_every_evidence_module_can_be_imported(name):
    command = [sys.executable, "-c", f"import evidence.{name}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
