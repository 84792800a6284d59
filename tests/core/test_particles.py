"""Which particles go on, and how copies part."""

import pytest
import torch

from ppap_core.particles import FRESH, Particles, with_fresh_noise


def select(scores, **settings):
    generator = torch.Generator().manual_seed(0)
    return Particles(num=len(scores), **settings).select(torch.tensor(scores), generator)


def test_each_particle_is_taken_as_often_as_its_weight_says():
    """Systematic resampling: K w rounded up or down, and K w on average."""
    generator, scores = torch.Generator().manual_seed(0), torch.tensor([0.0, 1.0, 2.0, 5.0])
    z = (scores - scores.mean()) / scores.std(correction=0)
    wanted = 4 * (1.5 * z).softmax(0)
    many = 4000
    taken = Particles(strictness=1.5).select(scores[:, None].expand(-1, many), generator)
    counts = torch.stack([(taken == k).sum(0) for k in range(4)]).double()
    assert ((counts - wanted[:, None].double()).abs() < 1).all()
    torch.testing.assert_close(counts.mean(1), wanted.double(), rtol=0, atol=0.03)


def test_who_goes_on_keeps_its_place():
    taken = select([[0.0, 9.0], [1.0, 1.0], [9.0, 0.0]], strictness=3.0)
    assert taken.tolist() == [[2, 0], [2, 0], [2, 0]]
    taken = select([[0.0], [1.0], [1.1], [1.2]], strictness=1.0)[:, 0].tolist()
    assert all(taken[k] == k for k in set(taken))


@pytest.mark.parametrize("scores", [[3.0, 3.0, 3.0], [float("nan")] * 3, [-float("inf")] * 3])
def test_equals_all_go_on(scores):
    assert select([[score] for score in scores])[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), -float("inf")])
def test_a_particle_without_a_score_is_replaced(lost):
    assert 1 not in select([[0.0], [lost], [0.1]], strictness=0.5)[:, 0].tolist()


def test_a_scale_and_a_shift_of_the_scores_change_nothing():
    scores = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(select(scores.tolist()), select((1e-3 * scores - 7).tolist()))


def test_copies_keep_their_noise_level_and_part():
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 200_000, generator=generator)
    alpha, b = torch.tensor([0.6]), torch.tensor([0.8])
    x = (0.6 * x_0 + 0.8 * eps)[None]
    fresh = (with_fresh_noise(x, x_0[None], alpha, b, generator)[0] - 0.6 * x_0) / 0.8
    assert fresh.var().item() == pytest.approx(1, abs=0.01)
    agreement = torch.corrcoef(torch.stack([fresh, eps]))[0, 1].item()
    assert agreement == pytest.approx((1 - FRESH**2) ** 0.5, abs=0.01)


@pytest.mark.parametrize("settings", [{"num": 0}, {"every": 0}, {"strictness": -1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="at least"):
        Particles(**settings)
