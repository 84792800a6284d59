"""What is settled by evidence where a user leaves it open."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guidance import Guidance
from ppap_core.guidance_run import GuidanceRun
from ppap_core.guiders import Guider, GuiderInfo
from ppap_core.noise import NoiseRange
from ppap_core.recommended import recommend
from ppap_core.shaping import Shaping
from ppap_core.strength import Strength, noise_norm, norms
from ppap_core.targets import ClassTarget, DepthTarget
from ppap_core.targets.boxes_target import Box, BoxesTarget
from ppap_core.targets.pose_target import PoseTarget
from ppap_core.targets.score_target import ScoreTarget
from ppap_core.tasks import get_task

CLASSES = ("cat", "dog", "bird")
TARGETS = {
    "class": ClassTarget({2: 1.0}, 3),
    "depth": DepthTarget(torch.rand(1, 32, 32)),
    "pose": PoseTarget(torch.rand(1, 2, 2), torch.ones(1, 2)),
    "boxes": BoxesTarget(((Box(0, (0.2, 0.2, 0.8, 0.8)),),), 3),
}
EXPERTS = NoiseExperts([Expert(NoiseRange(0.0, 1e4), {}, 1.0)])


def guidance(task="class", strength=1.0, **settings) -> Guidance:
    torch.manual_seed(0)
    body = nn.Conv2d(3, {"class": 3, "pose": 2}.get(task, 1), 3, padding=1)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = {"class": pooled, "depth": Squeeze()}.get(task, nn.Identity())
    labels = CLASSES if task in ("class", "boxes") else ()
    info = GuiderInfo("", "conv", task, labels, "")
    guider = Guider(nn.Sequential(body, head), nn.Identity(), info)
    wished = Strength(strength, settings.pop("rule", "recommended"))
    return Guidance(guider, TARGETS[task], wished, **settings)


class Squeeze(nn.Module):
    def forward(self, answer):
        return answer[:, 0]


@pytest.mark.parametrize("task", ["class", "depth"])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_a_strength_is_a_multiple_of_what_is_recommended_for_the_task(task, strength):
    """Measured on the shift itself, as a share of the noise."""
    x, level = torch.randn(2, 3, 32, 32), torch.full((2,), 0.5)
    shift = GuidanceRun(guidance(task, strength)).shift(x, level)
    expected = strength * recommend(get_task(task).recommended, "x_t", "none").scale
    torch.testing.assert_close(norms(shift) / noise_norm(shift, level), torch.full((2,), expected))


def test_other_rules_keep_their_scale_and_the_papers_also_its_spectrum():
    for rule in ("relative", "raw"):
        assert guidance(strength=0.7, rule=rule).strength.guidance_scale == 0.7
    on_estimate = {"input": "x0_hat", "jacobian": "none"}
    recommended = recommend(get_task("class").recommended, "x0_hat", "none").spectrum
    assert guidance(**on_estimate).shaping.spectrum == recommended != "plain"
    assert guidance(rule="raw", **on_estimate).shaping.spectrum == "plain"
    assert guidance(shaping=Shaping(spectrum="white")).shaping.spectrum == "white"


def test_a_jacobian_that_filters_is_not_filtered_again():
    """And its scale is that of a gradient which has kept its length."""
    filtered, other = (guidance(input="x0_hat", jacobian=name) for name in ("wiener", "none"))
    assert filtered.shaping.spectrum == "plain" != other.shaping.spectrum
    assert filtered.strength.guidance_scale < other.strength.guidance_scale / 2
    score, words = get_task("class").recommends(ScoreTarget()), get_task("embedding").recommended
    for recommended in (score, words):
        assert recommend(recommended, "x0_hat", "wiener").scale == recommended.x0_hat.scale


def test_experts_of_a_score_keep_the_jacobian_that_costs_no_pass():
    target, labels = ScoreTarget(), ("brightness",)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    info = GuiderInfo("", "conv", "class", labels, "", answer="score")
    asked = Guidance(Guider(body, nn.Identity(), info), target, input="x0_hat", experts=EXPERTS)
    assert asked.jacobian == "wiener"


def test_only_experts_whose_gradient_passes_the_model_let_it_fade():
    asks = get_task("class").recommended
    taught = guidance(input="x0_hat", experts=EXPERTS)
    assert (taught.shaping.spectrum, taught.shaping.when_met) == (asks.fading.spectrum, "fade late")
    assert taught.strength.guidance_scale == asks.fading.scale
    for other in (
        guidance(input="x0_hat"),
        guidance(experts=EXPERTS),
        guidance(input="x0_hat", experts=EXPERTS, jacobian="none"),
        guidance(input="x0_hat", experts=EXPERTS, rule="raw"),
        guidance("depth", input="x0_hat", experts=EXPERTS, jacobian="jvp"),
    ):
        assert other.shaping.when_met == "push on"
    pushed = guidance(input="x0_hat", experts=EXPERTS, shaping=Shaping(when_met="push on"))
    assert pushed.strength.guidance_scale == asks.through_model.scale
    assert pushed.shaping.spectrum == asks.through_model.spectrum


@pytest.mark.parametrize(
    ("task", "experts", "when_met"),
    [
        ("pose", None, "fade late"),
        ("pose", EXPERTS, "fade late"),
        ("boxes", None, "push on"),
        ("boxes", EXPERTS, "fade"),
    ],
)
def test_of_poses_a_guider_alone_knows_too_when_they_are_met(task, experts, when_met):
    asks = get_task(task).recommended
    asked = guidance(task, input="x0_hat", experts=experts)
    expected = asks.through_model if when_met == "push on" else asks.fading
    assert asked.jacobian == "jvp"
    assert asked.shaping.when_met == expected.when_met == when_met
    assert asked.strength.guidance_scale == expected.scale
    unpassed = guidance(task, input="x0_hat", experts=experts, jacobian="none")
    assert unpassed.shaping.when_met == "push on"


def test_what_has_no_end_never_fades():
    """Raw scores of several classes, and maps whose agreement is no share."""
    scores = replace(guidance().guider.info, answer="score")
    guider = Guider(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), nn.Identity(), scores)
    target = ClassTarget({2: 1.0}, 3, answer="score")
    asked = Guidance(guider, target, input="x0_hat", experts=EXPERTS)
    assert asked.shaping.when_met == "push on"
    with pytest.raises(ValueError, match="set when_met of PPAP Guidance Options to auto"):
        replace(asked, shaping=Shaping(when_met="fade"))
    with pytest.raises(ValueError, match="set when_met of PPAP Guidance Options to auto"):
        guidance("depth", shaping=Shaping(when_met="fade"))
    other = ClassTarget({7: 1.0}, 9)
    stranger = Guidance(guidance().guider, other, input="x0_hat", experts=EXPERTS)
    with pytest.raises(ValueError, match="connect the same guider to both nodes"):
        stranger.score(torch.zeros(1, 3, 8, 8), 1.0, torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        ValueError, match="when_met is one of auto, push on, fade late, fade, got 'stop'"
    ):
        Shaping(when_met="stop")


@pytest.mark.parametrize(("task", "with_experts"), [("class", "jvp"), ("depth", "none")])
def test_experts_of_maps_need_no_jacobian_and_those_of_classes_and_a_guider_alone_do(
    task, with_experts
):
    alone = guidance(task, input="x0_hat")
    assert alone.jacobian == "jvp"
    taught = replace(alone, jacobian="auto", experts=EXPERTS)
    assert taught.jacobian == with_experts
    assert replace(taught, jacobian="backprop").jacobian == "backprop"
