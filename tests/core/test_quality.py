"""Distances and shares between sets of pictures, where the answer is known."""

import pytest
import torch

from demo.judges import load_judge
from demo.paths import JUDGE
from demo.scenes import render
from evidence.quality import kid_interval, measure_quality


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


def test_the_interval_of_kid_is_as_wide_as_its_scatter():
    """Over samples of one distribution; the middle of the interval stands for the distance."""
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(400, 32, generator=generator)
    samples = [torch.rand(200, 32, generator=generator) + 0.05 for _ in range(40)]
    ends = torch.tensor([kid_interval(sample, real) for sample in samples])
    widths, middles = ends[:, 1] - ends[:, 0], ends.mean(dim=1)
    assert 0.7 < widths.mean() / (3.92 * middles.std()) < 1.4
    same = torch.rand(200, 32, generator=generator)
    low, high = kid_interval(same, torch.rand(2000, 32, generator=generator))
    assert low < 0 < high < ends[:, 0].mean()
