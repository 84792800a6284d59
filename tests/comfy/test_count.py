"""Target Count in the real ComfyUI: regions that particles choose by, detections that also push."""

import pytest
import torch

from demo.paths import BOXES_GUIDER, SEGMENTATION_GUIDER
from tests.comfy.test_boxes import sample

WIDE = {"samples": torch.zeros(1, 3, 32, 96)}  # the base model draws several objects there
NUMBER = 2  # the seed below draws 3 by itself


@pytest.fixture(scope="module")
def segmenter(call):
    return call("PPAP_LoadGuider", SEGMENTATION_GUIDER.name)[0]


def sampled(call, demo_model, model=None):
    base, empty = demo_model
    return call(
        "KSampler",
        **{"model": model or base, "positive": empty, "negative": empty, "seed": 5, "cfg": 1.0},
        **{"steps": 6, "sampler_name": "ddim", "scheduler": "ddim_uniform"},
        latent_image=WIDE,
    )[0]["samples"]


def test_particles_choose_by_a_count_of_regions(call, demo_model, segmenter):
    target, info = call("PPAP_TargetCount", segmenter, "object", NUMBER)
    assert info.startswith("asks for exactly 2 x object\na count of regions has no gradient")
    chosen = call(
        "PPAP_BestOfSeveral",
        demo_model[0],
        segmenter,
        target,
        **{"particles": 6, "every": 2},
        strictness=2.0,
    )[0]
    pictures = sampled(call, demo_model), sampled(call, demo_model, chosen)
    segmenter.guider.switch.restore()
    place = next(segmenter.guider.parameters()).device
    with torch.no_grad():
        plain, best = (
            target.log_likelihood(segmenter.guider(seen.clone().to(place))).sum().item()
            for seen in pictures
        )
    assert plain < best == 0, (plain, best)


def test_a_count_without_a_gradient_cannot_push(call, demo_model, segmenter):
    target, _ = call("PPAP_TargetCount", segmenter, "object", NUMBER)
    with pytest.raises(ValueError, match="no gradient, so it cannot move .* PPAP Best of Several"):
        sample(call, demo_model, segmenter, target)


def test_a_detectors_count_pushes_too(call, demo_model):
    guider = call("PPAP_LoadGuider", BOXES_GUIDER.name)[0]
    target, info = call("PPAP_TargetCount", guider, "cone", 1)
    assert info == "asks for exactly 1 x cone"
    latent, guided = sample(call, demo_model, guider, target, steps=5)
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    assert "exactly 1 x cone in 0 % of the pictures, now in" in report, report


def test_another_guider_is_refused_in_the_nodes_words(call):
    edges, _ = call("PPAP_LoadGuider", "edge filter (Canny, no network)")
    with pytest.raises(ValueError, match="Target Count needs a detector .* or a segmentation"):
        call("PPAP_TargetCount", edges, "cone", 1)
