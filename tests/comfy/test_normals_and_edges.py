"""Normals and edges from node to node in the real ComfyUI: experts, targets, pictures, reports."""

import re

import pytest
import torch
import transformers

from demo.scenes import render
from tests.core.tiny_guiders import transformers_folder

EDGES = "edge filter (Canny, no network)"
SAMPLING = {"cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
needs_normals = pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForNormalEstimation"),
    reason="this transformers has no normals models",
)


@pytest.fixture(scope="module")
def image():
    """A scene as an IMAGE."""
    return (render(1, seed=3).pictures().movedim(1, -1) + 1) / 2


@pytest.fixture(scope="module")
def normals_guider(comfyui, call):
    folder = comfyui.base / "models" / "ppap_guiders" / "tiny-normals"
    transformers_folder(folder, "Tipsv2DptForNormalEstimation")
    return call("PPAP_LoadGuider", "tiny-normals")[0]


def map_target(call, guider, image, source):
    return call("PPAP_TargetMap", guider, image, source, "ADE20K", fit="stretch", width=0, height=0)


def sample(call, demo_model, guider=None, target=None, **changes):
    model, empty = demo_model
    latent = {"samples": torch.zeros(1, 3, 32, 32)}
    inputs = {"model": model, "positive": empty, "negative": empty, "latent_image": latent}
    inputs |= {"guider": guider, "target": target, "seed": 5, "steps": 6}
    return call("PPAP_GuidedKSampler", **inputs | SAMPLING | changes)


def report_of(call, demo_model, guider, target, **changes):
    latent, guided = sample(call, demo_model, guider, target, **changes)
    return latent["samples"], call("PPAP_GuidanceReport", guided, latent, 3)[2]


@needs_normals
@pytest.mark.slow
def test_experts_of_normals_are_trained_and_guide(call, demo_model, image, normals_guider):
    model, empty = demo_model
    experts, preview, told = call(
        "PPAP_TrainExperts",
        *(model, empty, normals_guider, "normals"),
        **{"num_images": 12, "width": 32, "height": 32, "sampling_steps": 2, "num_experts": 2},
        **{"steps": 3, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
    )
    assert "agreement with the guider on 1 picture" in told and preview.std() > 0.05
    target, shown, info = map_target(call, experts, image, "reference picture")
    assert shown.shape == (1, 32, 32, 3) and info.startswith(
        "normals target for 1 picture, 32 x 32"
    )
    for guider in (experts, normals_guider):
        pictures, report = report_of(call, demo_model, guider, target)
        assert re.search(r"normals differed by \d+ degrees, now by \d+", report), report
        assert pictures.isfinite().all()


@needs_normals
def test_a_preview_of_normals_is_a_map_of_them(call, image, normals_guider):
    target, preview, _ = map_target(call, normals_guider, image, "reference picture")
    again, *_ = map_target(call, normals_guider, preview, "normal map (green up, OpenGL)")
    torch.testing.assert_close(again.normals, target.normals, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="is a target for edges, the guider predicts normals"):
        map_target(call, normals_guider, image, "line drawing (white on black)")


def test_edges_follow_a_drawing_without_a_network(call, demo_model):
    guider, card = call("PPAP_LoadGuider", EDGES)
    assert card.startswith(f"{EDGES}: blur and Sobel\npredicts edges: the log-odds of an edge")
    drawing = torch.zeros(1, 64, 64, 3)
    drawing[:, 16:48, 14:17] = drawing[:, 16:48, 47:50] = 1.0
    drawing[:, 14:17, 16:48] = drawing[:, 47:50, 16:48] = 1.0
    target, preview, info = map_target(call, guider, drawing, "line drawing (white on black)")
    assert preview.equal(drawing) and "edges cover" in info
    plain = sample(call, demo_model)[0]["samples"]
    pictures, report = report_of(call, demo_model, guider, target, strength=1.0)
    before, after = (target.agreement(guider.guider(seen)).item() for seen in (plain, pictures))
    assert after > before + 0.2, (before, after)
    assert re.search(r"\d+ % of the edges were as asked, now \d+ % \(F1", report), report
    with pytest.raises(ValueError, match="the edge map is empty where it counts"):
        map_target(call, guider, torch.zeros(1, 8, 8, 3), "line drawing (white on black)")


def test_no_experts_can_be_trained_for_the_edge_filter(call, demo_model):
    guider, _ = call("PPAP_LoadGuider", EDGES)
    with pytest.raises(
        ValueError, match="nothing to train in this guider: no layer gets LoRA"
    ) as error:
        call(
            "PPAP_TrainExperts",
            *(*demo_model, guider, "edges"),
            **{"num_images": 12, "width": 32, "height": 32, "sampling_steps": 2},
            **{"num_experts": 1, "steps": 1, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
        )
    assert "\n" not in str(error.value)
