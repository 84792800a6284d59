"""What reaches our nodes past ComfyUI's own checks: through switches, primitives and Any sockets.

ComfyUI checks a widget's range and choices only where a person sets it, not where a link brings it.
"""

import shutil

import pytest
import torch
from PIL import Image

from tests.comfy.test_nodes import demo_guider, target

GUIDER = "needs a guider of Load Off-the-shelf Guider at its socket guider, but got {}: connect one"


@pytest.fixture(scope="module")
def world(comfyui):
    with torch.inference_mode():
        model, empty = comfyui.node("PPAP_LoadPixelModel").execute("demo-scenes.safetensors").args
        guider = demo_guider(comfyui, experts=False)
        depth, _ = comfyui.node("PPAP_LoadGuider").execute("demo-scenes-depth").args
        return {
            **{"model": model, "empty": empty, "guider": guider, "depth": depth},
            **{"target": target(comfyui, guider), "image": torch.rand(1, 8, 8, 3)},
        }


def run(comfyui, node, *args, **kwargs):
    with torch.inference_mode():
        return comfyui.node(node).execute(*args, **kwargs).args


def refuse(comfyui, message, node, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        run(comfyui, node, *args, **kwargs)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("passed", "named"), [(None, "nothing"), ("net", "a str")])
def test_a_switch_that_gives_no_guider_is_told(comfyui, world, passed, named):
    """It was "'NoneType' object has no attribute 'guider'"."""
    map_widgets = ("reference picture", "ADE20K", "stretch", 0, 0)
    calls = {
        "PPAP_LoadExperts": ("demo-shapes-resnet.safetensors",),
        "PPAP_TargetClass": ("cone", 1.0),
        "PPAP_TargetMap": (world["image"], *map_widgets),
        "PPAP_TargetMasks": (torch.ones(1, 8, 8), "cone", ""),
        "PPAP_GuiderClasses": (),
    }
    for name, args in calls.items():
        refuse(comfyui, GUIDER.format(named), name, passed, *args)
    train = {"model": world["model"], "conditioning": world["empty"], "name": "switched"}
    refuse(comfyui, GUIDER.format(named), "PPAP_TrainExperts", guider=passed, **train)


@pytest.mark.parametrize(("passed", "named"), [(None, "nothing"), ("net", "a str")])
@pytest.mark.parametrize("socket", ["guider", "target"])
def test_best_of_several_needs_both(comfyui, world, socket, passed, named):
    inputs = {name: world[name] for name in ("model", "guider", "target")} | {socket: passed}
    told = f"at its socket {socket}, but got {named}: connect one"
    refuse(comfyui, told, "PPAP_BestOfSeveral", **inputs, particles=2, every=1, strictness=1.0)


def test_options_of_a_switch_may_be_none(comfyui, world):
    inputs = {name: world[name] for name in ("model", "guider", "target")}
    apply = "PPAP_ApplyGuidance"
    guided = run(comfyui, apply, **inputs, options=None, vae=None)[0]
    guidances = comfyui.module("ppap_core.comfy_bridge.hook").guidances_of
    plain = run(comfyui, apply, **inputs)[0]
    assert guidances(guided)[0].shaping == guidances(plain)[0].shaping


def test_what_is_no_output_of_ours_is_named_with_its_socket(comfyui, world):
    inputs = {name: world[name] for name in ("model", "guider", "target")}
    for socket, node in (
        ("guider", "Load Off-the-shelf Guider"),
        ("target", "a Target node of this pack"),
        ("options", "PPAP Guidance Options"),
    ):
        told = f"the socket {socket!r} takes the output of {node}; it got a dict"
        refuse(comfyui, told, "PPAP_ApplyGuidance", **inputs | {socket: {"a": 1}})


def test_choices_and_ranges_count_for_links_too(comfyui, world):
    latent = {"samples": torch.zeros(1, 3, 32, 32)}
    sampler = {
        **{"model": world["model"], "seed": 0, "steps": 1, "cfg": 1.0, "latent_image": latent},
        **{"positive": world["empty"], "negative": world["empty"], "denoise": 1.0},
        **{"sampler_name": "euler", "scheduler": "simple"},
    }
    guided = "PPAP_GuidedKSampler"
    told = "ComfyUI has no sampler 'Euler a': did you mean"
    refuse(comfyui, told, guided, **sampler | {"sampler_name": "Euler a"})
    told = "ComfyUI has no scheduler 'Karras': did you mean karras?"
    refuse(comfyui, told, guided, **sampler | {"scheduler": "Karras"})
    refuse(comfyui, "conflict is one of sum, give way, got 'add'", "PPAP_GuidanceOptions", "add")
    for change, told in (
        ({"source": "depth"}, "source is one of reference picture, depth map"),
        ({"fit": "cover"}, "fit is one of stretch, crop, pad, got 'cover'"),
        ({"width": -64}, "width and height are 0 or above, got -64 x 0"),
    ):
        widgets = {"source": "reference picture", "palette": "ADE20K", "fit": "stretch"}
        widgets |= {"width": 0, "height": 0, "image": world["image"]} | change
        refuse(comfyui, told, "PPAP_TargetMap", world["depth"], **widgets)
    for temperature in (0.0, float("inf"), float("nan")):
        told = "temperature has to be above 0"
        refuse(comfyui, told, "PPAP_TargetClass", world["guider"], "cone", temperature)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_picture_that_was_not_decoded_rightly_is_no_reference(comfyui, world, bad):
    """A black picture of NaN, as a VAE in half precision gives, was read as one of class 0."""
    image = world["image"].clone()
    image[0, 3, 3] = bad
    told = "what the socket 'image' got has values that are no numbers"
    widgets = (image, "reference picture", "ADE20K", "stretch", 0, 0)
    refuse(comfyui, told, "PPAP_TargetMap", world["depth"], *widgets)


def test_a_list_of_files_shows_what_each_run_says(comfyui, world):
    """A file with a preview and one without stopped the graph: KeyError 'images'."""
    from execution import get_output_from_returns

    folder = comfyui.base / "models" / "ppap_experts" / "listed"
    folder.mkdir(parents=True)
    bare = "demo-shapes-resnet.safetensors"
    path = comfyui.module("ppap_core.comfy_bridge.folders").file_path("ppap_experts", bare)
    shutil.copy(path, folder / "a.safetensors")
    Image.new("RGB", (8, 8)).save(folder / "a.preview.png")
    node = comfyui.node("PPAP_LoadExperts")
    names = ["listed/a.safetensors", bare, "none"]
    with torch.inference_mode():
        runs = [node.execute(world["guider"], name) for name in names]
    shutil.rmtree(folder)
    for order in (runs, runs[::-1]):
        _, shown, _ = get_output_from_returns(order, node)
        assert len(shown["ppap_text"]) == 3 and len(shown["images"]) == 1
