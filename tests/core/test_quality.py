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


def test_a_set_is_as_near_as_can_be_to_itself(scenes):
    quality = measure_quality(load_judge(JUDGE), scenes, scenes)
    assert quality.fid == pytest.approx(0, abs=1e-3)
    assert (quality.precision, quality.recall) == (1, 1)


def test_noise_is_far_from_pictures_and_covers_none(scenes):
    noise = torch.rand(scenes.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    quality = measure_quality(load_judge(JUDGE), noise, scenes)
    assert quality.precision < 0.05 and quality.recall < 0.05
    assert quality.kid > 100


def test_a_few_pictures_again_and_again_are_real_but_cover_little(scenes):
    again = scenes[:5].repeat(60, 1, 1, 1)
    quality = measure_quality(load_judge(JUDGE), again, scenes)
    assert quality.precision == 1
    assert quality.recall < 0.2
