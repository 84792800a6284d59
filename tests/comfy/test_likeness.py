"""Target Likeness in the real ComfyUI: guided pictures, reports, and errors before sampling."""

import re

import pytest
import torch
from torch.nn import functional as F

from demo.paths import AUTOENCODER, LATENT_MODEL
from demo.scene_files import load_heldout_scenes

DDIM = {"sampler_name": "ddim", "scheduler": "ddim_uniform"}
KINDS = ("low resolution", "known region", "palette", "mean and contrast", "reference mean")


@pytest.fixture(scope="module")
def image():
    """Two scenes as an IMAGE."""
    return (load_heldout_scenes().pictures(slice(0, 2)).movedim(1, -1) + 1) / 2


def likeness(comfyui, image, kind="low resolution", cells=8, **changes):
    mask = None
    if kind == "known region":
        mask = torch.ones(32, 32)
        mask[8:24, 8:24] = 0
    widgets = {"kind": kind, "cells": cells, "fit": "stretch", "width": 0, "height": 0}
    with torch.inference_mode():
        node = comfyui.node("PPAP_TargetLikeness")
        return node.execute(image=image, **{"mask": mask, **widgets, **changes}).args


def sample(comfyui, demo_model, guider=None, target=None, batch=2, steps=8, **changes):
    model, empty = demo_model
    with torch.inference_mode():
        return (
            comfyui.node("PPAP_GuidedKSampler")
            .execute(
                model=model,
                **{"seed": 5, "steps": steps, "cfg": 1.0, "positive": empty, "negative": empty},
                **{"guider": guider, "target": target, "denoise": 1.0},
                **DDIM | {"latent_image": {"samples": torch.zeros(batch, 3, 32, 32)}} | changes,
            )
            .args
        )


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_become_like_the_reference_and_the_report_says_how_much(
    comfyui, demo_model, image, kind
):
    guider, target, preview, info = likeness(comfyui, image, kind)
    latent, guided = sample(comfyui, demo_model, guider, target)
    plain, _ = sample(comfyui, demo_model)
    before, after = (target.agreement(found["samples"]).mean().item() for found in (plain, latent))
    gain = after - before if "PSNR" in target.wording(()).axis else before - after
    least = {"reference mean": 1.0}.get(kind, 4.0)
    assert gain > (least if "PSNR" in target.wording(()).axis else 0.3 * before), (before, after)
    with torch.inference_mode():
        report = comfyui.node("PPAP_GuidanceReport").execute(guided, latent, 3).args[2]
    assert report.startswith(f"likeness guidance by {kind}: on average over 2 pictures")
    assert "the model's estimates of the picture were compared, without a network" in report
    assert re.search(r"guided 8 of 8 steps", report) and "MB" not in report
    assert preview.shape[0] == target.num_rows and info.startswith(f"{kind} of 2 pictures")


def test_it_asks_the_model_no_more_often_than_sampling_does(comfyui, demo_model, image):
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs)

    wrappers = comfyui.module("ppap_core.comfy_bridge.hook").WrappersMP
    model = demo_model[0].clone()
    model.add_wrapper(wrappers.APPLY_MODEL, count)
    guider, target, *_ = likeness(comfyui, image)
    sample(comfyui, (model, demo_model[1]), guider, target)
    assert len(calls) == 8


def test_several_act_at_once_and_in_their_regions(comfyui, demo_model, image):
    """Low resolution on the left, the palette on the right."""
    left = torch.zeros(32, 32)
    left[:, :16] = 1
    model = demo_model[0]
    for kind, region in (("low resolution", left), ("palette", 1 - left)):
        guider, target, *_ = likeness(comfyui, image, kind)
        options = comfyui.node("PPAP_GuidanceOptions").execute(
            **{"conflict": "sum", "max_norm": 0.0, "every": 1, "momentum": 0.0},
            **{"second_moment": 0.0, "region": region},
        )
        with torch.inference_mode():
            model = (
                comfyui.node("PPAP_ApplyGuidance")
                .execute(model, guider=guider, target=target, options=options.args[0])
                .args[0]
            )
    made, guided = sample(comfyui, (model, demo_model[1]))
    plain, _ = sample(comfyui, demo_model)
    small = [F.avg_pool2d(x["samples"], 4) for x in (made, plain)]
    wanted = F.avg_pool2d(image.movedim(-1, 1) * 2 - 1, 4)
    errors = [(x - wanted)[..., :4].square().mean().item() for x in small]
    assert errors[0] < 0.5 * errors[1]
    with torch.inference_mode():
        report = comfyui.node("PPAP_GuidanceReport").execute(guided, made, 3).args[2]
    assert report.count("likeness guidance by") == 2


@pytest.mark.parametrize("view", ["linear_rgb", "vae"])
def test_latents_follow_through_the_views(comfyui, image, view):
    """The demo's tiny Flux; what comes out is decoded by its VAE and compared."""
    with torch.inference_mode():
        model = comfyui.nodes.UNETLoader().load_unet(LATENT_MODEL.name, "default")[0]
        vae = comfyui.nodes.VAELoader().load_vae(AUTOENCODER.name)[0]
    zero = comfyui.module("ppap_core.comfy_bridge.conditioning").zero_conditioning(model)
    guider, target, *_ = likeness(comfyui, image[:1], cells=8)
    errors = []
    for asked in ({}, {"guider": guider, "target": target, "vae": vae, "view": view}):
        latent, _ = sample(
            comfyui,
            (model, zero),
            **{"steps": 6, "latent_image": {"samples": torch.zeros(1, 16, 8, 8)}},
            **{"sampler_name": "euler", "scheduler": "simple", **asked},
        )
        with torch.inference_mode():
            picture = vae.decode(latent["samples"]).movedim(-1, 1) * 2 - 1
        errors.append(-target.log_likelihood(picture).item())
    assert errors[1] < 0.5 * errors[0]


def test_a_wrong_batch_is_refused_before_sampling(comfyui, demo_model, image):
    guider, target, *_ = likeness(comfyui, image)
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs)

    model = demo_model[0].clone()
    kinds = comfyui.module("ppap_core.comfy_bridge.hook").WrappersMP
    model.add_wrapper(kinds.APPLY_MODEL, count)
    with pytest.raises(ValueError, match="the target is for 2 pictures, the batch has 3"):
        sample(comfyui, (model, demo_model[1]), guider, target, batch=3)
    assert not calls


def test_its_guider_is_refused_where_a_network_is_needed(comfyui, demo_model, image):
    guider, target, *_ = likeness(comfyui, image)
    line = (
        "Target Class needs a classifier at its socket guider, but Target Likeness is a comparison "
        "with a picture: connect another guider there, or use Target Likeness with this one"
    )
    with pytest.raises(ValueError, match=line):
        comfyui.node("PPAP_TargetClass").execute(guider, "cone", 1.0)
    with torch.inference_mode():
        demo, _ = comfyui.node("PPAP_LoadGuider").execute("demo-shapes-resnet").args
    with pytest.raises(ValueError, match="the guider predicts class, the target is for likeness"):
        sample(comfyui, demo_model, demo, target)


def test_no_experts_can_be_trained_for_it(comfyui, demo_model, image):
    guider, *_ = likeness(comfyui, image)
    with torch.inference_mode():
        with pytest.raises(
            ValueError, match="experts cannot be trained for a guider that predicts"
        ):
            comfyui.node("PPAP_TrainExperts").execute(
                *(*demo_model, guider, "like"),
                **{"num_images": 16, "width": 32, "height": 32, "sampling_steps": 2},
                **{"num_experts": 1, "steps": 1, "batch_size": 4, "guider_input": "x0_hat"},
                seed=0,
            )
