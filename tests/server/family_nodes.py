"""A custom node for the test server: tiny models of many families, their prompts and latents.

It becomes the __init__.py of a folder in custom_nodes, beside a copy of host/tiny_checkpoints. On
import it writes the files of the families that ComfyUI's loaders accept, and a whole checkpoint
under the name that the workflows on one's own checkpoint load.
"""

from pathlib import Path

import folder_paths
import torch

from . import tiny_checkpoints

NAMES = list(tiny_checkpoints.FAMILIES)
BIG = ("SDXL",)  # 100 MB
OWN = "v1-5-pruned-emaonly-fp16.safetensors"

with torch.inference_mode(False):
    for _name in set(NAMES) - set(BIG):
        if tiny_checkpoints.FAMILIES[_name].stored:
            tiny_checkpoints.save(_name, Path(folder_paths.models_dir))
    tiny_checkpoints.save_whole(Path(folder_paths.models_dir) / "checkpoints" / OWN)


class TinyModel:
    """A family that no loader accepts at this size."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "build", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (NAMES,)}}

    def build(self, name):
        with torch.inference_mode(False):
            return (tiny_checkpoints.build(name),)


class TinyInputs:
    """An empty prompt and an empty latent for a model."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING", "LATENT"), "build", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "name": (NAMES,)}}

    def build(self, model, name):
        latent = {"samples": tiny_checkpoints.empty_latent(model)}
        return tiny_checkpoints.conditioning(name), latent


NODE_CLASS_MAPPINGS = {"PPAPTest_TinyModel": TinyModel, "PPAPTest_TinyInputs": TinyInputs}
