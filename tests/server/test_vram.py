"""Cards of much and of little memory, as ComfyUI treats them: on an emulated one.

tests/emulated_device counts its memory and runs the CPU's kernels, so that the pictures are to be
those of the CPU; nothing here says how fast a real card is.
"""

import contextlib
import json
import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from demo.paths import GUIDER, PIXEL_MODEL, WORKFLOWS
from host.client import read_prompt, request_json, run_prompt
from host.prompts import node_of
from host.releases import Pictures, pictures_of, run_workflow
from host.serve import ComfyServer
from host.workflow_graphs import DEMO_GRAPHS

MIB = 2**20
CLOSE = 5e-3  # mean of a picture in [0, 1]: attention is computed in another way
HINT = 0.5
HINTS = {"14 Demo depth from a reference": 0.25}  # at a half 0.006
CARDS = {  # MiB of memory, ComfyUI's flags
    "large": (16 * 1024, []),
    "small": (1024, ["--lowvram"]),
    "none": (1024, ["--novram"]),
}
GUIDANCE = [  # of the latent workflow: guider_input, jacobian, view
    ("x_t", "none", "linear_rgb"),
    ("x0_hat", "jvp", "vae"),
    ("x0_hat", "backprop", "vae"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CARDS)
def card(request, tmp_path_factory):
    """A server whose device is the emulated one."""
    if not shutil.which("g++"):
        pytest.skip("no g++ to compile the emulated device with")
    memory, flags = CARDS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "emulated_device"))
        patch.setenv("EMULATED_DEVICE_BYTES", str(memory * MIB))
        base = tmp_path_factory.mktemp(request.param)
        with ComfyServer(base, cpu=False, extra=[*flags, "--force-fp32"]) as running:
            assert device_of(running)["type"] == "mlu", running.log()
            yield running


def assert_close(found: Pictures, expected: Pictures) -> None:
    assert found.keys() == expected.keys()
    for node, pictures in found.items():
        for one, other in zip(pictures, expected[node], strict=True):
            assert abs(one - other).mean() < CLOSE, node


def device_of(server) -> dict:
    (device,) = request_json(f"{server.url}/system_stats")["devices"]
    return device


def memory_used(server) -> int:
    """Bytes of the device's memory."""
    device = device_of(server)
    return device["vram_total"] - device["vram_free"]


@pytest.mark.parametrize("name", DEMO_GRAPHS)
def test_workflow_makes_the_cpus_picture(card, server, name):
    assert_close(*(pictures_of(running.url, gently(running, name)) for running in (card, server)))


def gently(server, name: str) -> dict:
    """The prompt of a workflow, with hints for strengths: full ones multiply rounding."""
    prompt = read_prompt(server.url, WORKFLOWS / f"{name}.json")
    for node in prompt.values():
        if "strength" in node["inputs"]:
            node["inputs"]["strength"] = min(HINTS.get(name, HINT), node["inputs"]["strength"])
    return prompt


@pytest.mark.parametrize("settings", GUIDANCE, ids="-".join)
def test_gradients_match_the_cpu(card, server, settings):
    prompt = read_prompt(card.url, WORKFLOWS / "18 Demo class guidance in latents.json")
    _, sampler = node_of(prompt, "PPAP_GuidedKSampler")
    sampler["guider_input"], sampler["jacobian"], sampler["view"] = settings
    sampler["steps"], sampler["guider"] = 6, [node_of(prompt, "PPAP_LoadGuider")[0], 0]
    assert_close(pictures_of(card.url, prompt), pictures_of(server.url, prompt))


@pytest.mark.parametrize("guider_input", ["x_t", "x0_hat"])
def test_trained_experts_match_the_cpu(card, server, guider_input):
    found, expected = (train(running, guider_input) for running in (card, server))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():  # LoRA's B began as 0: all of it was learned
        assert (tensor - expected[name]).norm() <= 0.05 * expected[name].norm(), name


def train(server, guider_input: str) -> dict:
    """The tensors of experts that the server has trained."""
    name = f"trained_{guider_input}"
    small = {"num_images": 16, "width": 32, "height": 32, "sampling_steps": 3}
    short = {"num_experts": 2, "steps": 3, "batch_size": 8, "seed": 1}
    inputs = {"model": ["1", 0], "conditioning": ["1", 1], "guider": ["2", 0], "name": name}
    nodes = {
        "1": ("PPAP_LoadPixelModel", {"model_name": PIXEL_MODEL.name}),
        "2": ("PPAP_LoadGuider", {"guider": GUIDER.name, "allow_download": False}),
        "3": ("PPAP_TrainExperts", inputs | small | short | {"guider_input": guider_input}),
        "4": ("PreviewImage", {"images": ["3", 1]}),
    }
    prompt = {i: {"class_type": kind, "inputs": values} for i, (kind, values) in nodes.items()}
    file = server.base / "models/ppap_experts" / f"{name}.safetensors"
    if not file.exists():  # the CPU's serves for every card
        run_prompt(server.url, prompt)
    return load_file(file)


def is_large(request) -> bool:
    return request.node.callspec.params["card"] == "large"


def test_comfyui_can_free_all_memory(card, request):
    """All of it, when it asks."""
    run_workflow(card.url, "16 Demo class and depth")
    assert memory_used(card) > MIB or not is_large(request)
    with contextlib.suppress(json.JSONDecodeError):  # an empty answer
        request_json(f"{card.url}/free", {"unload_models": True, "free_memory": True})
    deadline = time.monotonic() + 30
    while memory_used(card) > MIB // 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert memory_used(card) <= MIB // 4


def test_lowvram_flags_offload_the_model(card, request):
    """Else these tests would show nothing."""
    run_workflow(card.url, "13 Demo class guidance")
    assert ("loaded partially" in card.log()) != is_large(request)
