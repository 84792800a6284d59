"""Every shipped workflow, through a running server: posted, run, and its picture looked at."""

import json

import pytest
from PIL import Image, ImageStat

from demo.paths import WORKFLOWS as FOLDER
from host.client import fetch_images, read_prompt, request_json, run_prompt
from host.prompts import node_of

WORKFLOWS = sorted(FOLDER.glob("*.json"))


def pictures(server, entry: dict, node_id: str) -> list[Image.Image]:
    return fetch_images(server.url, entry["outputs"][node_id])


def test_workflows_folder_is_not_empty():
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_shipped_workflow_runs_and_makes_pictures(server, path):
    prompt = read_prompt(server.url, path)
    entry = run_prompt(server.url, prompt)
    node_id, _ = node_of(prompt, "SaveImage")
    for picture in pictures(server, entry, node_id):
        assert picture.size == (256, 256)
        assert max(ImageStat.Stat(picture).stddev) > 10  # no blank picture


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_a_thumbnail_and_a_note(path):
    assert Image.open(path.with_suffix(".jpg")).size[1] >= 200
    types = [node["type"] for node in json.loads(path.read_text("utf-8"))["nodes"]]
    assert "MarkdownNote" in types


def test_the_asked_class_appears_in_the_picture(server):
    """Judged by a network that guided nothing; without guidance one picture in ten would do."""
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    from demo.judges import load_judge
    from demo.paths import JUDGE
    from demo.shapes import SHAPES

    prompt = read_prompt(server.url, WORKFLOWS[0])
    _, target = node_of(prompt, "PPAP_TargetClass")
    _, latent = node_of(prompt, "EmptyLatentImage")
    _, ksampler = node_of(prompt, "PPAP_GuidedKSampler")
    target["classes"], latent["batch_size"], ksampler["seed"] = "cone", 12, 5
    node_id, enlarged = node_of(prompt, "SaveImage")
    prompt[enlarged["images"][0]]["inputs"]["scale_by"] = 1.0
    drawn = pictures(server, run_prompt(server.url, prompt), node_id)
    images = torch.stack([pil_to_tensor(picture) for picture in drawn]).float() / 127.5 - 1
    answers = load_judge(JUDGE)(images).argmax(dim=1)
    assert (answers == SHAPES.index("cone")).float().mean() >= 0.5


def test_an_unknown_class_stops_with_a_clear_message(server):
    prompt = read_prompt(server.url, WORKFLOWS[0])
    node_of(prompt, "PPAP_TargetClass")[1]["classes"] = "coen"
    with pytest.raises(RuntimeError, match="no class 'coen': did you mean 'cone'"):
        run_prompt(server.url, prompt)


def test_a_missing_expert_file_is_refused_before_anything_runs(server):
    prompt = read_prompt(server.url, WORKFLOWS[0])
    node_of(prompt, "PPAP_LoadExperts")[1]["experts"] = "nowhere.safetensors"
    with pytest.raises(RuntimeError, match="nowhere.safetensors"):
        run_prompt(server.url, prompt)


def test_templates_and_model_folders_are_listed_by_the_server(server):
    templates = request_json(f"{server.url}/workflow_templates")
    assert "class_guidance" in templates["comfyui-ppap"]
    assert "demo-shapes-resnet.safetensors" in request_json(f"{server.url}/models/ppap_experts")
