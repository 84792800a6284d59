"""Distances and shares between sets of pictures, where the answer is known."""

import pytest
import torch

from demo.judges import load_judge
from demo.paths import JUDGE
from demo.scenes import render
from evidence.quality import measure_quality


@pytest.fixture(scope="module")
def scenes():
    return render(300, seed=8).pictures()


def test_set_compared_with_itself_has_zero_distance_and_full_recall(scenes):
    quality = measure_quality(load_judge(JUDGE), scenes, scenes)
    assert quality.fid == pytest.approx(0, abs=1e-3)
    assert (quality.precision, quality.recall) == (1, 1)


def test_noise_has_large_distance_and_no_recall(scenes):
    noise = torch.rand(scenes.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    quality = measure_quality(load_judge(JUDGE), noise, scenes)
    assert quality.precision < 0.05 and quality.recall < 0.05
    assert quality.kid > 100


def test_repeated_pictures_have_high_precision_and_low_recall(scenes):
    again = scenes[:5].repeat(60, 1, 1, 1)
    quality = measure_quality(load_judge(JUDGE), again, scenes)
    assert quality.precision == 1
    assert quality.recall < 0.2
