"""The demo world's dense judge, and how dense answers are measured."""

import numpy
import torch

from demo.dense_models import random_batch
from demo.judges import load_dense_judge
from demo.measures import aligned_rmse, intersection_over_union, nearness_of
from demo.paths import DENSE_JUDGE
from demo.scenes import Scenes, render


def test_the_shipped_judge_reads_renders_it_has_never_seen():
    scenes = render(30, seed=12345)
    with torch.no_grad():
        answer = load_dense_judge(DENSE_JUDGE)(scenes.pictures())
    assert aligned_rmse(answer.nearness, nearness_of(scenes.depth)).mean() < 0.05
    assert intersection_over_union(answer.logits.argmax(1), scenes.segmentation).mean() > 0.93


def test_aligned_rmse_is_the_residual_of_a_linear_fit():
    generator = torch.Generator().manual_seed(0)
    nearness, truth = (torch.rand(3, 6, 7, generator=generator) for _ in range(2))
    expected = []
    for x, y in zip(nearness.flatten(1).numpy(), truth.flatten(1).numpy(), strict=True):
        expected.append(numpy.sqrt(numpy.mean((numpy.polyval(numpy.polyfit(x, y, 1), x) - y) ** 2)))
    numpy.testing.assert_allclose(aligned_rmse(nearness, truth), expected, rtol=1e-4)


def test_intersection_over_union_counts_pixels_per_class():
    found = torch.tensor([[[0, 0, 1, 2]], [[0, 1, 1, 2]]])
    truth = torch.tensor([[[0, 1, 1, 2]], [[0, 1, 1, 0]]])
    torch.testing.assert_close(
        intersection_over_union(found, truth), torch.tensor([2 / 4, 3 / 4, 1 / 2])
    )


def test_image_depth_and_segments_are_shifted_together():
    square = torch.zeros(4, 32, 32)
    square[:, 12:20, 8:14] = 1
    image = (square * 255).byte()[:, None].expand(-1, 3, -1, -1)
    scenes = Scenes(image, torch.zeros(4).long(), 7 - 3 * square, (square * 2).byte())
    torch.manual_seed(3)
    moved = 0
    for _ in range(8):
        image, nearness, segments = random_batch(scenes, torch.arange(4), 0.0)
        assert torch.equal(image[:, 0] > 0, segments == 2)
        assert torch.equal(nearness > 0.5, segments == 2)
        moved += not torch.equal(segments.float(), square * 2)
    assert moved
