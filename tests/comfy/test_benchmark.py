"""The paper's ordering, coarsely, made from nothing in minutes: `--budget quick`."""

import os
import subprocess
import sys

import pytest

from evidence.benchmark.budgets import BUDGETS
from evidence.benchmark.rows import Tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("evidence")
    command = [sys.executable, "-m", "evidence.benchmark", "--budget", "quick"]
    own = os.environ | {"PPAP_BENCHMARK_FOLDER": str(folder / "experts")}  # no old ones
    subprocess.run([*command, "--output", str(folder)], check=True, env=own)
    assert "| PPAP-5 | no |" in (folder / "class.md").read_text("utf-8")
    return {key.method: row["value"] for key, row in Tables(folder).rows["class"].items()}


def test_every_row_of_the_quick_budget_was_made(accuracy):
    assert set(accuracy) == set(BUDGETS["quick"].methods)


def test_without_noise_aware_experts_guidance_hardly_works(accuracy):
    assert accuracy["no guidance"] < 0.3
    assert accuracy["off-the-shelf"] < 0.4


def test_label_free_experts_beat_the_guider_alone_by_far(accuracy):
    assert accuracy["PPAP-5"] >= accuracy["off-the-shelf"] + 0.4


def test_one_supervised_noise_aware_guider_beats_the_guider_alone(accuracy):
    assert accuracy["single, supervised"] > accuracy["off-the-shelf"] + 0.2
