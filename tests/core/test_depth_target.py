"""Depth targets against numpy's correlation, and what must not change them."""

import numpy
import pytest
import torch

from ppap_core.targets import DepthTarget
from ppap_core.targets.depth_target import aligned_squared_error


def maps(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def correlation(a, b, weight):
    pairs = numpy.stack([numpy.ravel(a), numpy.ravel(b)]).astype(numpy.float64)
    covariance = numpy.cov(pairs, aweights=numpy.ravel(weight))
    return covariance[0, 1] / numpy.sqrt(covariance[0, 0] * covariance[1, 1])


@pytest.mark.parametrize("with_mask", [False, True])
def test_log_likelihood_is_twice_the_correlation_less_two(with_mask):
    nearness, prediction = maps(3, 8, 10), maps(3, 8, 10, seed=1)
    mask = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(2)) if with_mask else None
    weights = mask if with_mask else torch.ones(3, 8, 10)
    expected = [
        2 * correlation(*row) - 2 for row in zip(prediction, nearness, weights, strict=True)
    ]
    got = DepthTarget(nearness, mask).log_likelihood(prediction)
    assert got.dtype == torch.float32
    numpy.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_right_map_is_best_and_the_one_inside_out_is_worst():
    nearness = maps(1, 8, 8)
    target = DepthTarget(nearness)
    torch.testing.assert_close(target.log_likelihood(nearness), torch.zeros(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(target.log_likelihood(-nearness), torch.tensor([-4.0]))


@pytest.mark.parametrize(("scale", "shift"), [(7.0, 0.0), (1e-3, 5.0), (300.0, -1e4)])
def test_scale_and_shift_of_either_side_do_not_matter(scale, shift):
    nearness, prediction = maps(2, 8, 8), maps(2, 8, 8, seed=1)
    expected = DepthTarget(nearness).log_likelihood(prediction)
    moved = DepthTarget(nearness).log_likelihood(prediction * scale + shift)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=0)
    moved = DepthTarget(nearness * scale + shift).log_likelihood(prediction)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=0)


def test_resolution_does_not_matter():
    nearness, prediction = maps(1, 8, 8), maps(1, 8, 8, seed=1)
    expected = DepthTarget(nearness).log_likelihood(prediction)
    finer = prediction.repeat_interleave(4, 1).repeat_interleave(4, 2)
    finer_map = nearness.repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(DepthTarget(finer_map).log_likelihood(finer), expected)


def test_a_finer_or_coarser_map_of_the_same_scene_is_nearly_as_good():
    ramp = torch.linspace(0, 1, 64).square().expand(1, 64, 64)
    prediction = torch.linspace(0, 1, 16).square().expand(1, 16, 16)
    for size in (64, 16, 8):
        target = DepthTarget(ramp[:, :size, :: 64 // size])
        assert -0.02 < target.log_likelihood(prediction).item() <= 0


def test_pixels_outside_the_mask_do_not_matter_at_any_resolution():
    nearness, mask = maps(1, 16, 16), torch.zeros(16, 16)
    mask[:8] = 1
    other = nearness.clone()
    other[:, 8:] = 1000.0
    for size in (8, 16, 32):
        prediction = maps(1, size, size, seed=1).requires_grad_(True)
        a, b = (DepthTarget(n, mask).log_likelihood(prediction) for n in (nearness, other))
        torch.testing.assert_close(a, b)
        (gradient,) = torch.autograd.grad(a.sum(), prediction)
        assert gradient[:, : size // 2].abs().min() > 0
        assert (gradient[:, size // 2 + 2 :] == 0).all()


def test_gradient_matches_finite_differences():
    a, b = (maps(2, 4, 5, seed=s, dtype=torch.float64) for s in (0, 1))
    weight = torch.rand(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(aligned_squared_error, (a.requires_grad_(True), b, weight))


def test_constant_depth_answer_gets_no_gradient():
    prediction = torch.full((1, 8, 8), 3.3, requires_grad=True)
    value = DepthTarget(maps(1, 8, 8)).log_likelihood(prediction)
    torch.testing.assert_close(value.detach(), torch.tensor([-1.0]))
    (gradient,) = torch.autograd.grad(value.sum(), prediction)
    assert (gradient == 0).all()


def test_a_picture_does_not_depend_on_its_neighbours():
    nearness, predictions = maps(3, 8, 8), maps(3, 8, 8, seed=1)
    together = DepthTarget(nearness).log_likelihood(predictions)
    pairs = zip(nearness, predictions, strict=True)
    alone = [DepthTarget(n).log_likelihood(p[None]) for n, p in pairs]
    torch.testing.assert_close(together, torch.cat(alone))
    shared = DepthTarget(nearness[0]).log_likelihood(predictions)
    torch.testing.assert_close(shared[0], together[0])


def test_a_target_made_in_inference_mode_takes_part_in_a_backward_pass():
    with torch.inference_mode():
        target = DepthTarget(maps(8, 8), torch.ones(8, 8))
    prediction = maps(1, 8, 8, seed=1).requires_grad_(True)
    target.log_likelihood(prediction).sum().backward()
    assert prediction.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.full((8, 8), 0.5),), "the same everywhere"),
        ((1000 + 1e-4 * maps(8, 8),), "the same everywhere"),  # but for float32's rounding
        ((torch.stack([maps(8, 8), torch.ones(8, 8)]),), "the same everywhere"),
        ((maps(8, 8), torch.zeros(8, 8)), "mask is empty"),
        ((maps(8, 8), torch.eye(8)[:1].repeat(8, 1) * 0), "mask is empty"),
        ((maps(8, 8), torch.ones(4, 4)), "differ in size"),
        ((maps(8, 8) / 0,), "not finite"),
        ((maps(1, 1, 8, 8),), r"a map is \(H, W\) or \(R, H, W\), got \(1, 1, 8, 8\)"),
    ],
)
def test_an_impossible_target_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthTarget(*arguments)


def test_depth_map_that_is_constant_inside_the_mask_is_refused():
    nearness = maps(8, 8)
    nearness[:4] = 0.2
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    with pytest.raises(ValueError, match="the same everywhere"):
        DepthTarget(nearness, mask)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 5), "connect a depth model"), ((3, 8, 8), "for 2 pictures, the batch has 3")],
)
def test_answer_of_the_wrong_shape_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        DepthTarget(maps(2, 8, 8)).log_likelihood(torch.zeros(shape))
