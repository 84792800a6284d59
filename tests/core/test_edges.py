"""Edges: closed forms, kornia's Canny, and drawings of both colours."""

import math

import pytest
import torch
from kornia.filters import canny

from demo.scenes import render
from ppap_core.guiders import BUILT_IN
from ppap_core.guiders.edge_filter import HIGH, LEAST, LOW, MOST_PIXELS, NAME, STEEPNESS
from ppap_core.targets.edge_maps import ON_BLACK, ON_WHITE
from ppap_core.targets.edges_target import SURE, EdgesTarget, reach, resize_lines
from ppap_core.targets.map_target import Frame, build_map_target
from ppap_core.tasks import EDGES

CERTAIN = 30.0  # log-odds
BEST = math.log(1 / (1 + math.exp(-SURE)))  # of a log-likelihood


@pytest.fixture(scope="module")
def guider():
    return BUILT_IN[NAME]()


def line(column, side=32):
    edges = torch.zeros(1, side, side)
    edges[:, :, column] = 1
    return edges


def odds(edges):
    return (edges[:, None] * 2 - 1) * CERTAIN


def step(column=16, low=-0.8, high=0.8, side=32):
    picture = torch.full((1, 3, side, side), low)
    picture[..., column:] = high
    return picture


def build(image, source, predict=None):
    return build_map_target("edges", (), image, source, "VOC", Frame(), None, predict)


def test_log_likelihood_in_closed_form():
    target = EdgesTarget(line(10))
    none = torch.zeros(1, 1, 32, 32)
    assert target.log_likelihood(none).item() == pytest.approx(math.log(0.5))
    assert target.log_likelihood(odds(line(10))).item() == pytest.approx(BEST)
    assert target.log_likelihood(none - CERTAIN).item() == pytest.approx((BEST - CERTAIN) / 2)
    # Out of reach: the line is missed, and one of 29 columns elsewhere has a line too many.
    wrong = target.log_likelihood(odds(line(20))).item()
    assert wrong == pytest.approx((-CERTAIN + (28 * BEST - CERTAIN) / 29) / 2)


def test_what_is_sure_pulls_no_more():
    seen = (odds(line(10)) / CERTAIN * (SURE + 0.1)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(EdgesTarget(line(10)).log_likelihood(seen).sum(), seen)
    assert not gradient.any()


@pytest.mark.parametrize(("side", "far"), [(32, 1), (512, 5)])
def test_a_line_may_lie_beside_its_place_as_far_as_its_reach(side, far):
    target = EdgesTarget(line(10, side))
    assert reach(target.edges) == far
    inside, outside = (odds(line(10 + shift, side)) for shift in (far, far + 1))
    assert target.log_likelihood(inside).item() == pytest.approx(BEST)
    assert target.agreement(inside).item() == pytest.approx(1.0)
    assert target.log_likelihood(outside).item() < -10
    assert target.agreement(outside).item() == 0.0


def test_agreement_is_f1():
    """Of two lines that are asked for one is seen, and one more: recall 1/2, precision 1/2."""
    target = EdgesTarget((line(4) + line(12)).clamp(max=1))
    assert target.agreement(odds(line(4) + line(24))).item() == pytest.approx(0.5)
    assert target.agreement(odds(line(4))).item() == pytest.approx(2 / 3)
    mask = torch.zeros(1, 32, 32)
    mask[..., :8] = 1
    masked = EdgesTarget((line(4) + line(12)).clamp(max=1), mask)
    assert masked.agreement(odds(line(4) + line(24))).item() == pytest.approx(1.0)
    assert masked.log_likelihood(odds(line(4) + line(24))).item() == pytest.approx(BEST)
    nothing = torch.full((1, 1, 4, 4), -1.0)
    agreement = EDGES.comparisons["edges"].agreement
    assert agreement(nothing, nothing).item() == 1.0 and agreement(-nothing, nothing).item() == 0.0


def test_thin_lines_survive_a_change_of_size():
    fine = line(100, 512)
    for size in ((64, 64), (32, 128)):
        small = resize_lines(fine, size)
        assert small.amax() == 1 and (small > 0).float().mean().item() == 1 / size[1]
    target = EdgesTarget(fine)
    assert target.agreement(odds(line(12, 64))).item() == pytest.approx(1.0)
    assert EdgesTarget(line(4, 16)).agreement(odds(line(16, 64))).item() > 0.9


def test_the_loss_of_experts_is_the_divergence_of_every_pixels_yes_and_no():
    generator = torch.Generator().manual_seed(0)
    answer, teacher = torch.randn(2, 3, 1, 6, 6, generator=generator)
    comparison = EDGES.comparisons["edges"]
    yes = torch.distributions.Bernoulli(logits=teacher)
    expected = torch.distributions.kl_divergence(yes, torch.distributions.Bernoulli(logits=answer))
    torch.testing.assert_close(comparison.loss(answer, teacher, 1.0), expected.mean())
    constant = comparison.constant(teacher, 1.0)
    torch.testing.assert_close(constant.sigmoid(), teacher.sigmoid().mean(0, keepdim=True))


def test_the_filters_slopes_are_those_of_kornias_canny(guider):
    pictures = render(3, seed=3, size=48).pictures()
    found = guider(pictures)
    slope = (LOW * HIGH * (found * 2 / STEEPNESS).exp() - LEAST**2).sqrt()
    thinned, edges = canny((pictures + 1) / 2, LOW, HIGH)
    ridge = thinned > 0.1
    ridge[..., :4], ridge[..., -4:], ridge[:, :, :4], ridge[:, :, -4:] = (False,) * 4
    torch.testing.assert_close(slope[ridge], thinned[ridge], rtol=1e-3, atol=2e-3)
    has_edges = edges.flatten(1).any(1)
    agreement = EdgesTarget(edges[has_edges, 0]).agreement(found[has_edges])
    assert len(agreement) > 1 and (agreement > 0.75).all(), agreement


def test_the_filter_sees_a_step_where_it_is_and_none_in_a_flat_picture(guider):
    found = guider(step())[0, 0]
    assert found.argmax(dim=1).unique().tolist() in ([15], [16]) and (found[:, 15:17] > 3).all()
    assert (found[:, :12] < -5).all() and (found[:, 20:] < -5).all()
    assert (guider(torch.full((1, 3, 16, 16), 0.3)) < -5).all()
    flat = torch.zeros(1, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(guider(flat).sum(), flat)
    assert gradient.isfinite().all()


def test_the_filters_gradient_makes_an_edge(guider):
    target, picture = EdgesTarget(line(16)), step(high=-0.7).requires_grad_(True)
    before = target.log_likelihood(guider(picture))
    (gradient,) = torch.autograd.grad(before.sum(), picture)
    after = target.log_likelihood(guider(picture + 0.05 * gradient / gradient.abs().max()))
    assert after > before


def test_a_large_picture_is_read_at_a_smaller_size(guider):
    assert guider(torch.zeros(1, 3, 1024, 1536)).shape == (1, 1, MOST_PIXELS, 768)
    assert guider(torch.zeros(1, 3, 40, 60)).shape == (1, 1, 40, 60)


def test_the_guider_reads_a_reference_picture(guider):
    made = build(step(), "reference picture", guider)
    assert made.target.agreement(guider(step())).item() == 1.0
    assert made.target.agreement(guider(step(8))).item() == 0.0
    assert made.info == "edges target for 1 picture, 32 x 32: edges cover 12.5%"


def test_drawings_of_both_colours_ask_for_the_same(caplog):
    white = (line(10) * 2 - 1)[:, None].expand(-1, 3, -1, -1)
    made = [build(white, ON_BLACK), build(-white, ON_WHITE)]
    assert all(torch.equal(each.target.edges, line(10)) for each in made)
    assert all("\n" not in each.info for each in made) and not caplog.text
    for image, source, other in ((-white, ON_BLACK, ON_WHITE), (white, ON_WHITE, ON_BLACK)):
        wrong = build(image, source)
        assert wrong.info.split("\n")[1] == (
            f"97% of the map would be edges: if that is its ground, choose the source {other!r}; "
            f"nothing was inverted"
        )
        assert torch.equal(wrong.target.edges, 1 - line(10)) and "97% of the map" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 3, 8, 8), -1.0), "the edge map is empty where it counts"),
        (torch.rand(1, 3, 8, 8) * 2 - 1, "the map is coloured: load a grey one"),
    ],
)
def test_bad_drawings_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        build(image, ON_BLACK)


def test_what_cannot_be_compared_is_refused(guider):
    with pytest.raises(ValueError, match=r"reads log-odds \(B, 1, h, w\).*connect an edge detec"):
        EdgesTarget(line(3)).log_likelihood(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="the edge map is empty where it counts"):
        build(torch.zeros(1, 3, 8, 8), "reference picture", guider)
    with pytest.raises(ValueError, match="is a target for edges, the guider predicts normals"):
        build_map_target("normals", (), step(), ON_BLACK, "VOC", Frame(), None, None)


def test_what_the_guider_sees_in_a_reference_is_the_best_answer():
    """Fainter or stronger edges are worse: guidance asks for no more contrast than there was."""
    reference = render(2, seed=3).pictures()
    odds = BUILT_IN[NAME]()(reference)
    target = EdgesTarget(odds[:, 0].sigmoid())
    best = target.log_likelihood(odds)
    for other in (odds + 0.5, odds - 0.5):
        assert (target.log_likelihood(other) < best).all()
