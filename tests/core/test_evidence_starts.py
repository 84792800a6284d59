"""`python -m evidence.<name>` runs outside of pytest: another package may hide our `tests`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "evidence").glob("[a-z]*.py"))


@pytest.mark.slow
def test_every_evidence_module_can_be_imported():
    """All in one process, since each import of the host's packages takes seconds."""
    names = [
        f"evidence.{n}"
        for n in (
            *MODULES,
            "benchmark.__main__",
            "photographs.__main__",
            "faces.__main__",
            "cifar.__main__",
        )
    ]
    command = [sys.executable, "-c", "\n".join(f"import {name}" for name in names)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
