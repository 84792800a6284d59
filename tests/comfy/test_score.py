"""Add Score Head and Target Score in the real ComfyUI: pictures, experts, reports, errors."""

import re

import pytest
import torch
from safetensors.torch import save_file

from demo.scenes import render
from demo.score_head import brightness

NAME = "demo-scenes-brightness"
HEAD = f"{NAME}.safetensors"
SAMPLING = {"cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
SIDES = (slice(0, 8), slice(24, 32))  # columns at the left and at the right
TRAINING = {
    **{"num_images": 12, "width": 32, "height": 32, "sampling_steps": 2, "num_experts": 1},
    **{"steps": 3, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
}


@pytest.fixture(scope="module")
def clip(call):
    return call("PPAP_LoadGuider", "demo-scenes-words")[0]


@pytest.fixture(scope="module")
def guider(call, clip):
    return call("PPAP_AddScoreHead", clip, HEAD)[0]


@pytest.fixture(scope="module")
def image():
    """Two scenes as an IMAGE."""
    return (render(2, seed=3).pictures().movedim(1, -1) + 1) / 2


def sample(call, demo_model, guider=None, target=None, **changes):
    model, empty = demo_model
    latent = {"samples": torch.zeros(2, 3, 32, 32)}
    inputs = {"model": model, "positive": empty, "negative": empty, "latent_image": latent}
    inputs |= {"guider": guider, "target": target, "seed": 5, "steps": 6}
    return call("PPAP_GuidedKSampler", **inputs | SAMPLING | changes)


def bright(latent):
    return brightness(latent["samples"])


@pytest.fixture(scope="module")
def plain(call, demo_model):
    return bright(sample(call, demo_model)[0])


def test_pictures_become_brighter_or_darker_and_the_report_says_so(call, demo_model, guider, plain):
    latent, guided = sample(call, demo_model, guider, call("PPAP_TargetScore", guider, "raise")[0])
    assert (bright(latent) > plain + 0.5).all()
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    first = report.splitlines()[0]
    assert first.startswith("score guidance by CLIPModel: on average over 2 pictures the score")
    before, after = map(float, re.search(rf"{NAME} was (\S+), now (\S+)$", first).groups())
    assert after > before + 1
    target, _ = call("PPAP_TargetScore", guider, "lower", "1")
    assert (bright(sample(call, demo_model, guider, target)[0]) < plain - 0.5).all()


def test_a_wish_that_is_met_leaves_pictures_as_they_are(call, demo_model, guider, plain):
    """Bit for bit, and each picture for itself."""
    target, info = call("PPAP_TargetScore", guider, "raise", "-50, 9")
    assert info == f"raises the score {NAME} until it is -50, 9 (one for each picture)"
    latent = sample(call, demo_model, guider, target, jacobian="none")[0]
    assert bright(latent)[0] == plain[0] and bright(latent)[1] > plain[1] + 0.3


def test_the_node_shows_the_scores_of_pictures(call, clip, guider, image):
    _, info = call("PPAP_TargetScore", guider, "raise", "", image)
    told = [float(score) for score in info.splitlines()[1].split(":")[1].split(",")]
    with torch.no_grad():
        device = next(guider.guider.parameters()).device
        wanted = guider.guider((image.movedim(-1, 1) * 2 - 1).to(device))[:, 0]
    assert told == pytest.approx(wanted.tolist(), abs=0.006)
    assert "write a score into wished" in info


def test_experts_of_the_embedding_serve_the_score(call, demo_model, clip, plain):
    known = call("PPAP_LoadExperts", clip, "demo-scenes-words.safetensors")[0]
    guider, card = call("PPAP_AddScoreHead", known, HEAD)
    assert f"classes: {NAME}" in card
    target, _ = call("PPAP_TargetScore", guider, "raise", "8")
    latent, guided = sample(call, demo_model, guider, target)
    assert (bright(latent) > plain + 0.3).all()
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    assert "answered" in report and "the guider answered without experts" not in report


@pytest.mark.slow
def test_experts_are_trained_for_a_score(call, demo_model, guider, plain):
    model, empty = demo_model
    trained, preview, told = call(
        "PPAP_TrainExperts", model, empty, guider, "brightness", **TRAINING
    )
    assert "pairs of pictures in the same order" in told and preview.std() > 0.05
    target, _ = call("PPAP_TargetScore", guider, "raise")
    assert (bright(sample(call, demo_model, trained, target)[0]) > plain + 0.2).all()


def test_a_score_is_raised_in_a_region(call, demo_model, guider):
    raised, _ = call("PPAP_TargetScore", guider, "raise")
    left = torch.zeros(1, 32, 32)
    left[..., :16] = 1
    options = call("PPAP_GuidanceOptions", conflict="sum", region=left)[0]
    before = sample(call, demo_model, steps=4)[0]["samples"]
    after = sample(call, demo_model, guider, raised, options=options, steps=4)[0]["samples"]
    rises = [brightness(after[..., part]) - brightness(before[..., part]) for part in SIDES]
    assert (rises[0] > rises[1]).all()


@pytest.mark.slow
def test_a_sweep_goes_from_dark_to_bright(call, demo_model, guider):
    model, empty = demo_model
    target, _ = call("PPAP_TargetScore", guider, "raise")
    inputs = {"model": model, "vae": call("VAELoader", "pixel_space")[0], "guider": guider}
    inputs |= {"positive": empty, "negative": empty, "seed": 0, "steps": 4, "target": target}
    latent = {"samples": torch.zeros(1, 3, 32, 32)}
    _, images = call(
        "PPAP_ScaleSweep", strengths="0, 0.5, 2", latent_image=latent, **inputs, **SAMPLING
    )
    means = images.flatten(1).mean(1)
    assert means[0] < means[1] < means[2]


def test_wrong_guiders_heads_and_wishes_are_refused(comfyui, call, demo_model, clip, guider):
    classifier = call("PPAP_LoadGuider", "demo-shapes-resnet")[0]
    with pytest.raises(ValueError, match="Add Score Head needs an embedding model .* is a classif"):
        call("PPAP_AddScoreHead", classifier, HEAD)
    with pytest.raises(ValueError, match="Add Score Head needs an embedding model"):
        call("PPAP_AddScoreHead", guider, HEAD)
    line = "needs a guider of a score at its socket guider, but .* is {}: put Add Score Head after"
    for wrong, what in ((classifier, "a classifier"), (clip, "an embedding model .*")):
        with pytest.raises(ValueError, match=line.format(what)):
            call("PPAP_TargetScore", wrong, "raise")
    for wished in ("nan", "inf", "1e999", "six"):
        with pytest.raises(ValueError, match="the widget wished takes a finite number.*got "):
            call("PPAP_TargetScore", guider, "raise", wished)
    target, _ = call("PPAP_TargetScore", guider, "raise", "5, 6, 7")
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        sample(call, demo_model, guider, target)
    words, _ = call("PPAP_TargetWords", clip, "a red cone", "")
    with pytest.raises(ValueError, match="the guider predicts class, the target is for embedding"):
        sample(call, demo_model, guider, words)
    with pytest.raises(ValueError, match="answers with a softmax, the target was made for a score"):
        sample(call, demo_model, classifier, target)
    folder = comfyui.base / "models" / "ppap_score_heads"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.ones(1, 768)}, folder / "large.safetensors")
    torch.save({}, folder / "pickle.pth")
    for name, line in (
        ("large.safetensors", "768 .* 64"),
        ("pickle.pth", "is a pickle"),
    ):
        with pytest.raises(ValueError, match=line):
            call("PPAP_AddScoreHead", clip, name)


def test_a_guider_of_several_scores_is_sent_to_target_class(call, clip, guider):
    from dataclasses import replace

    info = replace(guider.guider.info, labels=("sharp", "bright"))
    several = replace(guider, guider=type(guider.guider)(clip.guider.backbone, None, info))
    with pytest.raises(ValueError, match="has 2: choose among them with Target Class"):
        call("PPAP_TargetScore", several, "raise")
