"""Add Class Names in the real ComfyUI: a classifier in one's own words, its experts, its errors."""

import re

import pytest
import torch

from demo.captions import NAMES as COLOURS
from demo.captions import judge
from tests.core.tiny_guiders import owl_folder

SAMPLING = {"cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
TRAINING = {
    **{"num_images": 10, "width": 32, "height": 32, "sampling_steps": 1, "num_experts": 1},
    **{"steps": 1, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
}
LINES = "\n".join(f"{colour} floor" for colour in COLOURS)
TEMPLATE = "a cone on a {}"


@pytest.fixture(scope="module")
def clip(call):
    return call("PPAP_LoadGuider", "demo-scenes-words")[0]


def sample(call, demo_model, guider, target):
    model, empty = demo_model
    latent = {"samples": torch.zeros(4, 3, 32, 32)}
    inputs = {"model": model, "positive": empty, "negative": empty, "latent_image": latent}
    inputs |= {"guider": guider, "target": target, "seed": 5, "steps": 8}
    return call("PPAP_GuidedKSampler", **inputs | SAMPLING)


def test_pictures_get_the_named_floor_and_experts_of_the_embedding_serve(call, demo_model, clip):
    known = call("PPAP_LoadExperts", clip, "demo-scenes-words.safetensors")[0]
    guider, card = call("PPAP_AddClassNames", known, LINES, TEMPLATE)
    assert f"classes: {COLOURS[0]} floor, " in card
    target = call("PPAP_TargetClass", guider, "blue floor", 1.0)[0]
    latent, guided = sample(call, demo_model, guider, target)
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    assert re.search("sure of blue floor, now .*\n.*experts [0-9, ]+ of .* answered", report), (
        report
    )
    seen = judge(latent["samples"].cpu()).floor
    assert (seen == COLOURS.index("blue")).float().mean() >= 0.5


def test_what_does_not_fit_is_said(call, clip):
    classifier = call("PPAP_LoadGuider", "demo-shapes-resnet")[0]
    with pytest.raises(ValueError, match="Add Class Names needs an embedding .* is a class"):
        call("PPAP_AddClassNames", classifier, LINES)
    with pytest.raises(ValueError, match="the widget names has 0 of at least 2 lines"):
        call("PPAP_AddClassNames", clip, "")
    guider, card = call("PPAP_AddClassNames", clip, "cone\n" + "cube " * 40)
    assert "too long, so only this is read: " in card
    with pytest.raises(ValueError, match="has no class 'cne': did you mean 'cone'"):
        call("PPAP_TargetClass", guider, "cne", 1.0)


@pytest.mark.slow
def test_experts_are_trained_for_named_objects_and_guide(comfyui, call, demo_model):
    owl_folder(comfyui.base / "models" / "ppap_guiders" / "tiny-owl")
    loaded, card = call("PPAP_LoadGuider", "tiny-owl")
    assert "predicts boxes: 1 class, " in card and "reads words of any kind too" in card
    guider, card = call("PPAP_AddClassNames", loaded, "red cone\nblue cube")
    assert "classes: red cone, blue cube" in card
    trained, preview, told = call("PPAP_TrainExperts", *demo_model, guider, "owl", **TRAINING)
    assert "agreement with the guider on 1 picture" in told and preview.std() > 0.05
    widgets = {"fit": "stretch", "width": 0, "height": 0}
    target = call("PPAP_TargetBoxes", trained, "blue cube: 0.2 0.2 0.6 0.7", "", 1.0, **widgets)[0]
    latent, guided = sample(call, demo_model, trained, target)
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    told = "sure of blue cube in the box, now .*\n.*experts 0 of 1 answered"
    assert re.search(told, report), report
