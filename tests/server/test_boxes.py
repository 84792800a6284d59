"""Target Boxes in a prompt: boxes of ComfyUI's own canvas, a region, another guider, a sweep."""

import re

import pytest

from demo.paths import BOXES_GUIDER, GUIDER, PIXEL_MODEL
from host.client import request_json, run_prompt

SAMPLER = {
    **{"steps": 12, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "seed": 1},
    **{"positive": ["model", 1], "negative": ["model", 1], "latent_image": ["latent", 0]},
    **{"denoise": 1.0, "start_percent": 0.0, "end_percent": 1.0},
}
OPTIONS = {
    **{"conflict": "sum", "max_norm": 0.0, "every": 1, "momentum": 0.0, "frames": ""},
    **{"second_moment": 0.0, "spectrum": "auto", "when_met": "auto"},
    **{"scale_rule": "recommended"},
}
BOX = {"x": 96, "y": 64, "width": 128, "height": 160}  # of 320 x 320


def node(name: str, **inputs) -> dict:
    return {"class_type": name, "inputs": inputs}


@pytest.fixture
def prompt() -> dict:
    size = {"width": 320, "height": 320}
    asked = {"boxes": "cone: 0.3 0.2 0.7 0.7", "class_name": "cone", "outside": 1.0}
    return {
        "model": node("PPAP_LoadPixelModel", model_name=PIXEL_MODEL.name),
        "latent": node("EmptyLatentImage", width=32, height=32, batch_size=2),
        "vae": node("VAELoader", vae_name="pixel_space"),
        "detector": node("PPAP_LoadGuider", guider=BOXES_GUIDER.name),
        "classifier": node("PPAP_LoadGuider", guider=GUIDER.name),
        "boxes": node(
            "PPAP_TargetBoxes",
            guider=["detector", 0],
            fit="stretch",
            bboxes=["canvas", 1],
            **asked,
            **size,
        ),
        "canvas": node("CreateBoundingBoxes", editor_state={"__value__": [BOX]}, **size),
        "class": node("PPAP_TargetClass", guider=["classifier", 0], classes="cone", temperature=1),
        "region": node("SolidMask", value=1.0, width=32, height=32),
        "options": node("PPAP_GuidanceOptions", region=["region", 0], **OPTIONS),
        "first": node(
            "PPAP_ApplyGuidance",
            model=["model", 0],
            guider=["classifier", 0],
            target=["class", 0],
            strength=1.0,
            **{"start_percent": 0.0, "end_percent": 1.0},
        ),
        "guided": node(
            "PPAP_GuidedKSampler",
            model=["first", 0],
            guider=["detector", 0],
            target=["boxes", 0],
            strength=1.0,
            options=["options", 0],
            **SAMPLER,
        ),
        "report": node(
            "PPAP_GuidanceReport", model=["guided", 1], latent=["guided", 0], num_steps=4
        ),
    }


@pytest.mark.slow
def test_boxes_and_a_class_guide_together_and_are_told(server, prompt):
    if "CreateBoundingBoxes" not in request_json(f"{server.url}/object_info"):
        pytest.skip("this ComfyUI draws no boxes")
    outputs = run_prompt(server.url, prompt)["outputs"]
    assert outputs["boxes"]["text"][0].startswith("boxes for 1 picture: 2 cone")
    (text,) = outputs["report"]["text"]
    ((first, last),) = re.findall(
        r"detector was ([\d.]+) % sure of cone in the boxes, now ([\d.]+)", text
    )
    assert float(last) > float(first) and "the classifier was" in text


@pytest.mark.slow
def test_a_sweep_compares_strengths_of_boxes(server, prompt):
    del prompt["boxes"]["inputs"]["bboxes"]
    kept = {name: prompt[name] for name in ("model", "latent", "vae", "detector", "boxes")}
    settings = SAMPLER | {"steps": 4, "strengths": "0, 2"}
    sweep = {
        "sweep": node(
            "PPAP_ScaleSweep",
            **{"model": ["model", 0], "vae": ["vae", 0], "guider": ["detector", 0]},
            **{"target": ["boxes", 0], **settings},
        ),
        "shown": node("PreviewImage", images=["sweep", 0]),
    }
    assert run_prompt(server.url, kept | sweep)["outputs"]["shown"]["images"]


def test_an_unknown_class_is_refused_in_one_line(server, prompt):
    prompt["boxes"]["inputs"] |= {"boxes": "cat: 0 0 1 1", "class_name": ""}
    del prompt["boxes"]["inputs"]["bboxes"]
    wrong = {name: prompt[name] for name in ("detector", "boxes")}
    wrong["shown"] = node("PreviewAny", source=["boxes", 2])
    with pytest.raises(RuntimeError, match="the guider has no class 'cat': it knows 10 classes"):
        run_prompt(server.url, wrong)
