"""Target Style from node to node in the real ComfyUI: pictures, experts, reports, errors."""

import pytest
import torch

from demo.scenes import render


@pytest.fixture(scope="module")
def clip(call):
    return call("PPAP_LoadGuider", "demo-scenes-words")[0]


def sample(call, demo_model, guider, target):
    model, empty = demo_model
    inputs = {"model": model, "positive": empty, "negative": empty, "seed": 5, "steps": 6}
    inputs |= {"cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
    latent = {"samples": torch.zeros(2, 3, 32, 32)}
    return call("PPAP_GuidedKSampler", guider=guider, target=target, latent_image=latent, **inputs)


@pytest.mark.parametrize("with_experts", [False, True])
def test_pictures_come_nearer_to_the_style_of_their_references(
    call, demo_model, clip, with_experts
):
    references = render(2, seed=3).pictures()
    if with_experts:
        clip = call("PPAP_LoadExperts", clip, "demo-scenes-words.safetensors")[0]
    image = (references.movedim(1, -1) + 1) / 2
    guider, target, info = call("PPAP_TargetStyle", clip, image)
    assert info.startswith("asks for the style of 2 references, one for each picture: mean and")
    latent, guided = sample(call, demo_model, guider, target)
    plain, _ = sample(call, demo_model, None, None)

    guider.guider.switch.restore()
    with torch.no_grad():
        device = next(guider.guider.parameters()).device
        far, near = (
            target.agreement(guider.guider(found["samples"].clone().to(device)))
            for found in (plain, latent)
        )
    assert near.mean() < 0.6 * far.mean() and (near < far).all()
    report = call("PPAP_GuidanceReport", guided, latent, 3)[2]
    told = "style guidance by CLIPModel: on average over 2 pictures the style was"
    assert report.startswith(told) and "without a network" not in report


def test_wrong_guiders_are_refused(call, demo_model, clip):
    image = torch.rand(1, 32, 32, 3)
    classifier = call("PPAP_LoadGuider", "demo-shapes-resnet")[0]
    with pytest.raises(ValueError, match="Target Style needs an embedding model .* a classifier"):
        call("PPAP_TargetStyle", classifier, image)
    _, target, _ = call("PPAP_TargetStyle", clip, image)
    with pytest.raises(ValueError, match="predicts embedding, the target is for style"):
        sample(call, demo_model, clip, target)
