"""What the report says of runs, and the curves that it draws, without matplotlib."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from PIL import ImageColor

from ppap_core.guidance_figures import plot_curves
from ppap_core.guidance_report import describe, in_short, summary
from ppap_core.guidance_run import GuidanceRecord, Outcome, Sampling
from ppap_core.guiders import GuiderInfo
from ppap_core.guiders.edge_filter import edge_filter
from ppap_core.plot import COLOURS, Curve, Panel, draw_panels, nice_step
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget, DepthTarget

CLASS = ClassTarget({0: 1.0}, 2).wording(("cone", "torus"))
DEPTH = DepthTarget(torch.rand(4, 4)).wording(())


def outcome(agreement, wording=CLASS, task="class", share=0.08, pictures=1, **changes):
    """Of as many guided steps as `agreement` has figures, each of 0.03 s."""
    records = tuple(
        GuidanceRecord(
            sigma_ve=30 * math.exp(-i / 2),
            expert=None,
            log_likelihood=torch.tensor(figure).log(),
            gradient=torch.tensor(0.1),
            share=torch.tensor(share),
            seconds=0.03,
            seen=torch.zeros(3, 8, 8),
            where=torch.ones(8, 8),
            agreement=torch.tensor(figure),
            pictures=pictures,
        )
        for i, figure in enumerate(agreement)
    )
    made = Outcome(
        guidance=lambda: None,
        info=GuiderInfo("timm/net", "net", task, (), ""),
        strength=Strength(0.1, "relative"),
        num_experts=0,
        records=records,
        lost_steps=0,
        stale_steps=0,
        num_bytes=0,
        wording=wording,
        sampling=Sampling(len(records), len(records), 0.1 * len(records)),
    )
    return replace(made, **changes)


RISING = [0.11, 0.4, 0.8, 0.9991]


def test_the_report_speaks_in_a_persons_terms():
    assert describe([outcome(RISING)]).splitlines() == [
        "class guidance by net: the classifier was 11 % sure of cone, now over 99.9 %",
        "    guided 4 of 4 steps, 30 % of the time; the guider answered without experts: it cannot "
        "read strong noise",
        "    each step moved the picture by 8.0 % of its noise",
    ]
    depth = outcome([0.62, 0.93], DEPTH, "depth", pictures=4)
    assert describe([depth]).startswith(
        "depth guidance by net: on average over 4 pictures depth agreed with the map by 0.62, now "
        "by 0.93"
    )


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(20, 20, 1.2), "guided 4 of 20 steps, 10 % of the time"),
        (Sampling(10, 19, 1.2), "guided 4 of 19 evaluations of the model in 10 steps, 10 % of"),
        (Sampling(), "guided 4 evaluations of the model"),
    ],
)
def test_how_much_was_guided_and_how_long_it_took(sampling, words):
    told = outcome(RISING, sampling=sampling)
    assert words in describe([told]) and words in in_short(told) and words in summary(told)


@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (outcome(RISING, share=1e-4), "it moved next to nothing: raise strength"),
        (outcome([0.97, 0.99]), "saw the target from the first step on: nothing was left to do"),
        (outcome([0.2, 0.2]), "came no nearer to the target: raise strength, or give the guider e"),
        (outcome([0.2, 0.1], num_experts=5), "came no nearer to the target: raise strength"),
        (outcome([0.3, 0.1], DEPTH, "depth"), "came no nearer to the target"),
        (outcome(RISING, input="x0_hat"), "without experts, about the model's estimates"),
    ],
)
def test_the_report_says_what_to_change(made, advice):
    assert advice in describe([made])


def test_experts_are_not_advised_where_nothing_could_learn():
    made = outcome([0.2, 0.2], task="edges", info=edge_filter().info)
    assert describe([made]).splitlines()[-1].strip() == (
        "it came no nearer to the target: raise strength"
    )


def test_steps_that_were_lost_are_told_and_no_strength_is_blamed():
    """They were in the log alone, and the report said: it moved next to nothing, raise strength."""
    made = outcome([math.nan, 0.4, 0.8], lost_steps=1)
    lost = "the gradient was not finite at {} of 3 guided steps, which left pictures unguided"
    for told in (describe([made]), in_short(made)):
        assert lost.format(1) in told and "40 %" in told and "nan" not in told
    made = outcome([math.nan] * 3, lost_steps=3, share=0.0)
    for told in (describe([made]), in_short(made)):
        assert lost.format(3) in told and "raise strength" not in told and "nan" not in told


def test_guidance_away_from_a_target_is_not_told_to_come_nearer():
    away = outcome([0.8, 0.1], strength=Strength(-1.0))
    assert "came no nearer" not in describe([away])


def test_unguided_is_said_with_its_reason_everywhere():
    strength = Strength(0.1, "relative", 0.2, 0.3)
    nothing = outcome([], strength=strength)
    for told in (describe([nothing]), in_short(nothing), summary(nothing)):
        assert "did nothing: no step's noise lies in its part of the schedule, 0.2 to 0.3" in told
    assert in_short(nothing).startswith("not guided: ")
    assert "no guider or target is connected to the node" in describe([], is_guided=False)


def test_a_target_without_words_is_told_by_its_log_likelihood():
    silent = outcome(RISING, wording=None)
    assert "raised the log-likelihood from -2.21 to -0.0009" in describe([silent])
    assert in_short(silent) == "class: guided 4 of 4 steps, 30 % of the time"


def test_two_samplings_of_one_guidance_count_together():
    half = outcome(RISING, sampling=Sampling(10, 10, 1.0))
    assert "guided 8 of 20 steps, 12 % of the time" in describe([half.followed_by(half)])


def shown_colours(picture):
    return {colour for _, colour in picture.getcolors(1 << 24)}


def test_each_guidance_has_curves_of_its_own_colour():
    depth = outcome([0.62, 0.7, 0.93], DEPTH, "depth")
    colours = [ImageColor.getrgb(colour) for colour in COLOURS]
    one, both = plot_curves([outcome(RISING)]), plot_curves([outcome(RISING), depth])
    assert both.size == (960, 900)
    assert colours[0] in shown_colours(one) and colours[1] not in shown_colours(one)
    assert {colours[0], colours[1]} <= shown_colours(both)


def test_a_curve_runs_where_its_points_are():
    """Noise falls from left to right; 0.5 of a panel from 0 to 1 is its middle."""
    flat = Panel("", [Curve([(1.0, 0.5), (0.0, 0.5)])], low=0.0, high=1.0)
    picture = draw_panels([flat], ["net"], "noise", (400, 300))
    blue = ImageColor.getrgb(COLOURS[0])
    rows = [y for y in range(50, 300) if math.dist(picture.getpixel((200, y)), blue) < 60]
    upper, lower = 12 + 24 + 24, 300 - 48 - 10
    assert rows and all(abs(y - (upper + lower) / 2) <= 2 for y in rows)


@pytest.mark.parametrize("values", [[], [math.nan], [0.0, 0.0], [1e-9, 1e9], [-3.0, math.inf]])
@pytest.mark.parametrize("settings", [{}, {"is_log": True}, {"unit": "%"}, {"unit": "whole"}])
def test_any_values_can_be_drawn(values, settings):
    points = [(i / 9, value) for i, value in enumerate(values)]
    draw_panels([Panel("any", [Curve(points)], **settings)], ["net"], "noise", (200, 200))


@pytest.mark.parametrize(
    ("span", "step"), [(1.0, 0.2), (10.0, 2.0), (3.0, 1.0), (0.07, 0.02), (6.1, 2.0)]
)
def test_ticks_stand_at_round_numbers(span, step):
    assert nice_step(span) == pytest.approx(step)


def test_curves_are_drawn_where_matplotlib_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # to import it is an error
    assert len(plot_curves([outcome(RISING)]).getcolors(1 << 24)) > 50
