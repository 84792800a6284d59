"""A Flux of ten million parameters for FLUX.2's latents, in ComfyUI, which has to be booted.

The network is ComfyUI's own, with FLUX.1's blocks: FLUX.2's would read 512 tokens of text beside
the 16 of a picture.
"""

from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from safetensors.torch import load_file

from demo.latent_diffusion import PROMPT_WIDTH, SETTINGS
from evidence.cifar.pictures import LATENT
from evidence.photographs.latents import tiny_autoencoder
from ppap_core.comfy_bridge.checkpoint import Checkpoint
from ppap_core.file_hash import file_sha256

WIDTH, HEADS = 256, 2


class SmallFlux(comfy.supported_models.FluxSchnell):
    """Schnell's schedule of noise, which is not shifted, and FLUX.2's latents."""

    latent_format = comfy.latent_formats.Flux2


def build_base():
    """ComfyUI's model around the network, whose weights are not set."""
    channels = {"in_channels": LATENT[0], "out_channels": LATENT[0], "patch_size": 1}
    size = {"hidden_size": WIDTH, "num_heads": HEADS, "context_in_dim": PROMPT_WIDTH}
    config = SmallFlux(SETTINGS | channels | size)
    config.set_inference_dtype(torch.float32, None)
    return config.get_model({}, device="cpu")


def load_base_model(path: Path, networks: Path) -> Checkpoint:
    """What `evidence.cifar.base_model` has trained, with FLUX.2's tiny autoencoder."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    with torch.inference_mode(False):
        base = build_base()
        base.diffusion_model.load_state_dict(weights)
    model = comfy.model_patcher.CoreModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    vae = tiny_autoencoder(networks)
    return Checkpoint(model, None, vae, path.name, file_sha256(path), reads_prompts=False)
