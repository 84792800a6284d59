"""Diffusion models and decoders of full size, with random weights in their real layouts.

They cost what real ones cost, and need no download. The files lie in demo/cache, outside git.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from demo.paths import CACHE
from evidence.guidance_cost import random_experts
from evidence.random_guiders import random_guider
from host import tiny_decoders

FILES = CACHE / "full_size"
GUIDER = "resnet50"
TOKENS = 77
SD_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "legacy": False,
}
UNETS = {"SD1.5": SD_UNET}  # by the name in the table


class FullSize(NamedTuple):
    """What is guided: MODEL, VAE, an empty prompt, and a guider with experts."""

    model: object
    vae: object
    prompt: list
    guider: object


def random_weights(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """In half precision; they keep activations near 1."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            scale = 0.7 / math.sqrt(math.prod(shape[1:]))
            weights[name] = (torch.randn(shape, generator=generator) * scale).half()
        else:
            is_bias = name.endswith("bias")
            weights[name] = torch.full(shape, 0.0 if is_bias else 1.0, dtype=torch.half)
    return weights


def write_checkpoint(name: str, folder: Path) -> Path:
    """The file of the model `name`, written if it is not there."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    path = folder / f"{name}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        operations = comfy.ops.disable_weight_init
        network = UNetModel(**UNETS[name], device="meta", operations=operations)
        shapes = {key: value.shape for key, value in network.state_dict().items()}
        named = {f"model.diffusion_model.{k}": v for k, v in random_weights(shapes).items()}
        unfinished = path.with_suffix(".part")
        save_file(named, unfinished)
        unfinished.rename(path)
    return path


def load_full_size(name: str, folder: Path = FILES) -> FullSize:
    """By ComfyUI's own loaders; the tiny decoder lies where its previews look for it."""
    import comfy.sd
    import comfy.utils
    import folder_paths

    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    file = write_checkpoint(name, folder)
    if not (folder / "taesd_decoder.safetensors").exists():
        tiny_decoders.save_taesd(folder, "taesd", 4)
    if not (vae_file := folder / "vae.safetensors").exists():
        tiny_decoders.save_kl(vae_file, 4, width=128)
    folder_paths.add_model_folder_path("vae_approx", str(folder), is_default=True)
    half = {"dtype": torch.half}  # in memory; a CPU still computes in float32
    parts = comfy.sd.load_checkpoint_guess_config(
        str(file), output_vae=False, output_clip=False, model_options=half
    )
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_file)))
    torch.manual_seed(0)
    guider = random_guider(GUIDER)
    loaded = replace(LoadedGuider.of(guider), experts=random_experts(guider))
    prompt = [[torch.zeros(1, TOKENS, UNETS[name]["context_dim"]), {}]]
    return FullSize(parts[0], vae, prompt, loaded)
