"""The demo's models in the place of those that a workflow on one's own checkpoint names.

So such a workflow runs where nothing can be downloaded, and its pictures can be looked at.
"""

from collections.abc import Iterator
from pathlib import Path

from torchvision.transforms.functional import to_pil_image

from demo.scenes import render
from host.own_graphs import (
    ADE20K,
    ASKED,
    CLASSES,
    DEPTH,
    DETECTOR,
    PLACES,
    POSE,
    SEGMENTATION,
    UNWANTED,
    WORDS,
)
from host.workflow_graphs import LATENT, LATENT_EXPERTS
from ppap_core.targets.palettes import HUES

FILE, SIDE = "demo-scenes-flux.safetensors", 64
SETTINGS = LATENT | {"cfg": 1.0, "seed": 7}
PHOTOGRAPH = "example.png"  # ComfyUI's own, in its input folder
VALUES = {  # of widgets
    CLASSES: "demo-shapes-resnet",
    UNWANTED: "demo-shapes-resnet",
    DEPTH: "demo-scenes-depth",
    WORDS: "demo-scenes-words",
    POSE: "demo-scenes-pose",
    DETECTOR: "demo-scenes-boxes",
    PLACES: "cone: 0.25 0.2 0.75 0.85",
    ASKED: "a red cone on a blue floor",
    SEGMENTATION: "demo-scenes-segmentation",
    "golden retriever": "cone",
    "nsfw:-1": "sphere:-1, cube:-1, cylinder:-1",
    "ADE20K": HUES,
    # The demo's classes have the hues 0, 120 and 240 degrees.
    ADE20K["grass"]: 0xFF0000,  # floor
    ADE20K["sky"]: 0x00FF00,  # wall
    ADE20K["house"]: 0x0000FF,  # object
}
COUNTS = {DETECTOR: "demo-shapes-resnet"}  # the demo's pictures show one object: a class instead


def write_photograph(folder: Path) -> None:
    """A picture of the demo's world, under the name of ComfyUI's own example."""
    folder.mkdir(parents=True, exist_ok=True)
    to_pil_image(render(1, seed=5, size=SIDE).image[0]).save(folder / PHOTOGRAPH)


def with_demo_models(prompt: dict) -> dict:
    """`prompt` (API format) with the demo's latent model, guiders and classes; others stay."""
    checkpoints = [i for i, n in prompt.items() if n["class_type"] == "CheckpointLoaderSimple"]
    if not checkpoints:
        return prompt
    (checkpoint,) = checkpoints
    vae = f"{checkpoint}-vae"
    changed = {vae: _node("VAELoader", vae_name=FILE)}
    counts = any(node["class_type"] == "PPAP_TargetCount" for node in prompt.values())
    values = VALUES | COUNTS if counts else VALUES
    for node_id, node in prompt.items():
        inputs = {
            name: [vae, 0] if value == [checkpoint, 2] else _value(value, values)
            for name, value in node["inputs"].items()
        }
        changed |= dict(_replaced(node_id, node["class_type"], inputs))
    return changed


def _value(value, values: dict):
    return value if isinstance(value, list) else values.get(value, value)


def _replaced(node_id: str, kind: str, inputs: dict) -> Iterator[tuple[str, dict]]:
    """What takes the place of a node, by id."""
    if kind == "CheckpointLoaderSimple":
        yield node_id, _node("UNETLoader", unet_name=FILE, weight_dtype="default")
    elif kind == "CLIPTextEncode":  # the demo's model reads no words
        yield f"{node_id}-any", _node("LotusConditioning")
        yield node_id, _node("ConditioningZeroOut", conditioning=[f"{node_id}-any", 0])
    elif kind == "EmptyLatentImage":
        size = {"width": SIDE, "height": SIDE, "batch_size": 2}
        yield node_id, _node("EmptySD3LatentImage", **size)
    elif kind == "PPAP_TrainExperts":  # what the same trainer has taught before
        experts = {"guider": inputs["guider"], "experts": LATENT_EXPERTS}
        yield node_id, _node("PPAP_LoadExperts", **experts)
    elif kind == "PPAP_TargetCount":
        asked = {"guider": inputs["guider"], "classes": "cone", "temperature": 1.0}
        yield node_id, _node("PPAP_TargetClass", **asked)
    elif kind in ("KSampler", "PPAP_GuidedKSampler"):
        yield node_id, _node(kind, **{**inputs, **SETTINGS})
    else:
        yield node_id, _node(kind, **inputs)


def _node(kind: str, /, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}
