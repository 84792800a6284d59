"""Every shipped workflow, through a running server: posted, run, and its picture looked at."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from demo.paths import WORKFLOWS as FOLDER
from host.client import fetch_images, read_prompt, request_json, run_and_fetch, run_prompt
from host.own_graphs import OWN_GRAPHS
from host.prompts import node_of
from host.serve import ComfyServer
from host.stand_ins import with_demo_models
from host.workflow_graphs import DEMO_GRAPHS
from ppap_core.comfy_bridge.headless import PACK_ROOT
from tests.quick_runs import QUICK

WORKFLOWS = sorted(FOLDER.glob("*.json"))
OWN = [path for path in WORKFLOWS if path.stem in OWN_GRAPHS]
DEMO = [path for path in WORKFLOWS if path.stem in DEMO_GRAPHS]


def pictures(server, entry: dict, node_id: str) -> list[Image.Image]:
    return fetch_images(server.url, entry["outputs"][node_id])


def test_workflows_folder_is_not_empty():
    assert WORKFLOWS


def quick(prompt: dict) -> dict:
    for node in prompt.values():
        node["inputs"] |= QUICK.get(node["class_type"], {})
    return prompt


def guided_and_plain(server, prompt: dict) -> tuple[Image.Image, Image.Image]:
    """The first picture that the guided sampler made, and that of the same noise without it."""
    outputs = run_prompt(server.url, prompt)["outputs"]
    saved, _ = node_of(prompt, "SaveImage")
    sampler = [i for i, node in prompt.items() if node["class_type"] == "KSampler"][-1]
    decode = next(i for i, n in prompt.items() if n["inputs"].get("samples") == [sampler, 0])
    plain = next(i for i, n in prompt.items() if n["inputs"].get("images") == [decode, 0])
    return tuple(fetch_images(server.url, outputs[node])[0] for node in (saved, plain))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_workflow_on_ones_own_checkpoint_guides_it(server, path):
    """Untouched but for its size: a tiny SD1.5 and small guiders lie where it looks for its own."""
    guided, plain = guided_and_plain(server, quick(read_prompt(server.url, path)))
    assert guided.size == plain.size == (64, 64)
    assert max(ImageStat.Stat(ImageChops.difference(guided, plain)).mean) > 0.5


def test_a_workflow_on_ones_own_checkpoint_guides_a_flux(server):
    prompt = with_demo_models(read_prompt(server.url, OWN[0]))
    _, plain_sampler = node_of(prompt, "KSampler")
    _, guided_sampler = node_of(prompt, "PPAP_GuidedKSampler")
    plain_sampler["steps"] = guided_sampler["steps"] = 8
    guided, plain = guided_and_plain(server, prompt)
    assert max(ImageStat.Stat(guided).stddev) > 10
    assert max(ImageStat.Stat(ImageChops.difference(guided, plain)).mean) > 2


@pytest.mark.slow
def test_a_workflow_on_ones_own_checkpoint_guides_an_sdxl(server):
    """KOALA, the smallest of SDXL's kind; a prompt of zeros, since its encoders have 1.6 GB."""
    prompt = quick(read_prompt(server.url, OWN[0]))
    checkpoint, loader = node_of(prompt, "CheckpointLoaderSimple")
    prompt["tiny"] = {"class_type": "PPAPTest_TinyModel", "inputs": {"name": "SDXL"}}
    prompt["decoder"] = {"class_type": "CheckpointLoaderSimple", "inputs": loader}
    empty = {"model": ["tiny", 0], "name": "SDXL"}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == [checkpoint, 0]:
                node["inputs"][name] = ["tiny", 0]
    for node_id, node in list(prompt.items()):
        if node["class_type"] == "CLIPTextEncode":
            prompt[node_id] = {"class_type": "PPAPTest_TinyInputs", "inputs": empty}
    guided, plain = guided_and_plain(server, prompt)
    assert max(ImageStat.Stat(ImageChops.difference(guided, plain)).mean) > 0.5


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_loads_is_here_or_says_where_it_comes_from(server, path):
    """Each model that a widget names is listed by ComfyUI; downloads have a link and a folder."""
    info = request_json(f"{server.url}/object_info")
    for node in json.loads(path.read_text("utf-8"))["nodes"]:
        for model in node.get("properties", {}).get("models", []):
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(".safetensors") and model["directory"] and model["name"]
            assert model["hash_type"] == "SHA256" and len(bytes.fromhex(model["hash"])) == 32
        if node["type"] in ("CheckpointLoaderSimple", "UNETLoader", "VAELoader"):
            choices = next(iter(info[node["type"]]["input"]["required"].values()))[0]
            assert node["widgets_values"][0] in choices


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_app_mode_shows_widgets_and_pictures_of_the_workflow(path):
    graph = json.loads(path.read_text("utf-8"))
    nodes = {str(node["id"]): node for node in graph["nodes"]}
    shown = graph["extra"]["linearData"]
    assert len(shown["inputs"]) >= 2 and shown["outputs"]
    for node_id, widget in shown["inputs"]:
        named = [i["name"] for i in nodes[node_id]["inputs"] if i.get("widget")]
        assert widget in named, (nodes[node_id]["type"], widget)
    assert all("Image" in nodes[node_id]["type"] for node_id in shown["outputs"])


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
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

    prompt = read_prompt(server.url, DEMO[0])
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
    prompt = read_prompt(server.url, DEMO[0])
    node_of(prompt, "PPAP_TargetClass")[1]["classes"] = "coen"
    with pytest.raises(RuntimeError, match="no class 'coen': did you mean 'cone'"):
        run_prompt(server.url, prompt)


def test_a_missing_expert_file_is_refused_before_anything_runs(server):
    prompt = read_prompt(server.url, DEMO[0])
    node_of(prompt, "PPAP_LoadExperts")[1]["experts"] = "nowhere.safetensors"
    with pytest.raises(RuntimeError, match="nowhere.safetensors"):
        run_prompt(server.url, prompt)


def test_templates_and_model_folders_are_listed_by_the_server(server):
    templates = request_json(f"{server.url}/workflow_templates")
    assert "13 Demo class guidance" in templates["comfyui-ppap"]
    assert "demo-shapes-resnet.safetensors" in request_json(f"{server.url}/models/ppap_experts")


def tracked(*flags: str) -> set[str]:
    """Files of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z", *flags], cwd=PACK_ROOT, capture_output=True)
    return set(listed.stdout.decode().split("\0")) - {""}


def unpack_archive(folder: Path) -> Path:
    """The pack as the registry's archive holds it: what .comfyignore leaves."""
    for name in tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACK_ROOT / name, folder / name)
    return folder


@pytest.mark.slow
def test_every_workflow_runs_with_what_is_in_the_archive(tmp_path, prepare_server):
    pack = unpack_archive(tmp_path / "pack")
    assert not (pack / "host").exists() and not (pack / "demo" / "train.py").exists()
    prepare_server(tmp_path / "base")
    with ComfyServer(tmp_path / "base", cpu=True, pack=pack) as bare:
        for path in WORKFLOWS:
            assert run_and_fetch(bare.url, quick(read_prompt(bare.url, path))), path.stem
