"""Tiny models of many families, each guided in a running server, through the real loader nodes."""

import json

import pytest
from safetensors.torch import load_file

from host.client import request_json, run_prompt
from host.tiny_checkpoints import FAMILIES

TINY = [name for name in FAMILIES if name != "SDXL"]  # its file has 100 MB
LOADERS = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name", {}),
    "diffusion_models": ("UNETLoader", "unet_name", {"weight_dtype": "default"}),
}


def loader(name: str) -> dict:
    stored = FAMILIES[name].stored
    if not stored:
        return {"class_type": "PPAPTest_TinyModel", "inputs": {"name": name}}
    kind, widget, more = LOADERS[stored]
    return {"class_type": kind, "inputs": {widget: f"tiny_{name}.safetensors", **more}}


def prompt_for(name: str) -> dict:
    """The same noise unguided and guided, saved as latents."""
    nodes = {
        "model": loader(name),
        "inputs": {
            "class_type": "PPAPTest_TinyInputs",
            "inputs": {"model": ["model", 0], "name": name},
        },
        "guider": {"class_type": "PPAP_LoadGuider", "inputs": {"guider": "demo-shapes-resnet"}},
        "target": {
            "class_type": "PPAP_TargetClass",
            "inputs": {"guider": ["guider", 0], "classes": "torus", "temperature": 1.0},
        },
    }
    for scale in (0.0, 0.3):
        sampler = {
            "model": ["model", 0],
            "positive": ["inputs", 0],
            "negative": ["inputs", 0],
            "latent_image": ["inputs", 1],
            "seed": 0,
            "steps": 2,
            "cfg": 1.0,
            "denoise": 1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "guider": ["guider", 0],
            "target": ["target", 0],
            "guider_input": "x_t",  # estimates of random weights are no pictures
            "strength": scale,
            "start_percent": 0.0,
            "end_percent": 1.0,
        }
        nodes[f"sample {scale}"] = {"class_type": "PPAP_GuidedKSampler", "inputs": sampler}
        nodes[f"save {scale}"] = {
            "class_type": "SaveLatent",
            "inputs": {
                "samples": [f"sample {scale}", 0],
                "filename_prefix": f"{name}_{scale}",
            },
        }
    return nodes


def saved(server, entry: dict, node: str):
    (file,) = entry["outputs"][node]["latents"]
    return load_file(server.base / "output" / file["subfolder"] / file["filename"])["latent_tensor"]


def test_at_least_twelve_families_are_tested():
    assert len(TINY) >= 12


@pytest.mark.parametrize("name", TINY)
def test_a_family_is_guided_through_the_server(server, name):
    entry = run_prompt(server.url, prompt_for(name))
    plain, guided = (saved(server, entry, f"save {scale}") for scale in (0.0, 0.3))
    assert guided.isfinite().all()
    assert (guided - plain).abs().max() > 1e-3 * plain.abs().max()


def test_prompt_inputs_match_the_nodes_inputs(server):
    """What the prompts above spell out is all that the sampler requires."""
    info = request_json(f"{server.url}/object_info")["PPAP_GuidedKSampler"]
    required = set(info["input"]["required"])
    given = set(prompt_for(TINY[0])["sample 0.3"]["inputs"])
    assert required <= given, json.dumps(sorted(required - given))
