"""Scale rules and the shaping of gradients, against closed forms and torch's own Adam."""

import pytest
import torch

from ppap_core.shaping import Moments, Shaping, without_conflict
from ppap_core.strength import noise_norm, norms, relative_shift

SIGMA_VE = torch.tensor([2.0, 2.0])


def gradients(steps=6, shape=(2, 3, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("decays", [(0.5, 0.7), (0.9, 0.999), (0.0, 0.5)])
def test_moments_match_torchs_adam(decays):
    """With rate 1 and no epsilon, Adam's steps are what the moments return."""
    moments, parameter = Moments(Shaping(*decays)), torch.zeros(2, 3, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=1.0, betas=decays, eps=1e-30)
    for gradient in gradients():
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        optimizer.step()
        torch.testing.assert_close(moments.update(gradient), before - parameter.detach())


def test_momentum_alone_is_the_weighted_mean_of_all_steps():
    moments, seen = Moments(Shaping(momentum=0.5)), gradients(3)
    for gradient in seen:
        got = moments.update(gradient)
    torch.testing.assert_close(got, (4 * seen[2] + 2 * seen[1] + seen[0]) / 7)


def test_moments_are_off_by_default():
    gradient = gradients(1)[0]
    assert Moments(Shaping()).update(gradient) is gradient


def test_moments_forget_a_batch_of_another_size():
    moments, (first, second) = Moments(Shaping(momentum=0.5)), gradients(2)
    moments.update(first)
    torch.testing.assert_close(moments.update(second[:1]), second[:1])
    torch.testing.assert_close(moments.update(second), second)


def test_zero_gradient_stays_zero_through_moments():
    assert Moments(Shaping(0.5, 0.5)).update(torch.zeros(1, 3, 2, 2)).eq(0).all()


def test_shift_with_the_noises_full_norm_undoes_the_noise():
    """denoised moves by -(sigma of x_vp) eps' norm when all of eps is taken back."""
    eps = torch.ones(2, 3, 4, 4)
    undone = SIGMA_VE.square() / (1 + SIGMA_VE.square()).sqrt() * norms(eps)
    torch.testing.assert_close(noise_norm(eps, SIGMA_VE), undone)


def test_max_norm_shortens_only_longer_shifts():
    shift = torch.stack([torch.ones(3, 4, 4), torch.full((3, 4, 4), 1e-3)])
    limited = Shaping(max_norm=0.2).limit(shift, SIGMA_VE, 1.0)
    torch.testing.assert_close(norms(limited)[0], 0.2 * noise_norm(shift, SIGMA_VE)[0])
    assert limited[1].equal(shift[1])
    assert Shaping().limit(shift, SIGMA_VE, 1.0) is shift


def test_without_conflict_removes_the_opposing_part():
    earlier = torch.zeros(3, 2, 1, 1)
    earlier[:, 0] = 1.0
    shift = torch.tensor([[-2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]).view(3, 2, 1, 1)
    expected = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]]).view(3, 2, 1, 1)
    assert without_conflict(shift, earlier).equal(expected)
    assert without_conflict(shift, torch.zeros_like(shift)).equal(shift)


@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (2, 4, 5, 6, 8)])
def test_a_region_covers_the_picture_at_any_size(shape):
    half = torch.zeros(12, 32)
    half[:, :16] = 1.0
    region = Shaping(region=half).region_like(torch.zeros(shape))
    assert region.ndim == len(shape)
    assert region[..., :4].eq(1).all() and region[..., 4:].eq(0).all()


def test_a_relative_shift_is_as_dense_in_a_region_as_in_a_whole_picture():
    whole, region = torch.randn(2, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1.0
    part = relative_shift(whole * region, SIGMA_VE, 0.1, region.square().flatten(1).mean(dim=1))
    expected = relative_shift(whole[..., :4], SIGMA_VE, 0.1)
    torch.testing.assert_close(part[..., :4], expected)


def test_a_region_for_another_number_of_pictures_is_refused():
    with pytest.raises(ValueError, match="the region is for 3 pictures, the batch has 2"):
        Shaping(region=torch.ones(3, 4, 4)).region_like(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, r"momentum lies in \[0, 1\), got 1.0"),
        ({"second_moment": -0.1}, "second_moment"),
        ({"second_moment": float("nan")}, "second_moment"),
        ({"max_norm": -1.0}, "max_norm"),
        ({"max_norm": float("inf")}, "max_norm"),
        ({"every": 0}, "every is 1 or above"),
        ({"region": torch.zeros(4, 4)}, "region is empty"),
    ],
)
def test_impossible_shaping_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Shaping(**settings)
