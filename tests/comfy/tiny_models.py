"""Tiny models of real families, and their decoders, in the ComfyUI of this process.

`comfyui` is the fixture of tests/conftest.py.
"""

import timm
import torch

from host.tiny_checkpoints import FAMILIES, build, save


def load(comfyui, name: str):
    """MODEL of the family `name`, loaded inside torch.inference_mode() as a server does."""
    built, stored = build(name), FAMILIES[name].stored
    if not stored:
        return built
    file = save(name, comfyui.base / "models").name
    with torch.inference_mode():
        if stored == "checkpoints":
            model = comfyui.nodes.CheckpointLoaderSimple().load_checkpoint(file)[0]
        else:
            model = comfyui.nodes.UNETLoader().load_unet(file, "default")[0]
    assert type(model.model) is type(built.model)
    return model


def tiny_guider(comfyui):
    """A PPAP_GUIDER with a tiny random classifier."""
    guiders = comfyui.module("ppap_core.guiders")
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", channels=(8, 8, 12, 16), stem_width=8, num_classes=5)
    net.train()(torch.randn(32, 3, 32, 32))
    labels = tuple(map(str, range(5)))
    info = guiders.GuiderInfo("timm/net", "net", "class", labels, "0")
    preprocessing = guiders.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3)
    guider = guiders.Guider(net, preprocessing, info)
    return comfyui.module("ppap_core.comfy_bridge.loaded_guider").LoadedGuider.of(guider)
