"""Fixtures that call nodes as a server calls them."""

import pytest
import torch


@pytest.fixture(scope="session")
def call(comfyui):
    """A node by its id: inputs -> outputs."""

    def run(name, *args, **inputs):
        node = comfyui.node(name)
        with torch.inference_mode():
            run = node.execute if hasattr(node, "define_schema") else getattr(node(), node.FUNCTION)
            answer = run(*args, **inputs)
        return getattr(answer, "args", answer)

    return run


@pytest.fixture(scope="module")
def demo_model(call):
    """(MODEL, CONDITIONING) of the demo's pixel model."""
    return call("PPAP_LoadPixelModel", "demo-scenes.safetensors")
