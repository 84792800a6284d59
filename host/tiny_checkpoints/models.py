"""Build a family's MODEL, and write the file that ComfyUI's loader accepts."""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .families import FAMILIES


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights that keep activations near 1; ComfyUI's layers leave theirs unset."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            weights[name] = value
        elif value.ndim > 1:
            scale = 0.7 / math.sqrt(value[0].numel())
            weights[name] = torch.randn(value.shape, generator=generator) * scale
        else:
            is_scale = name.endswith((".scale", "gamma", "out.0.weight")) or "norm" in name
            is_scale = (is_scale or "ayers.0" in name) and not name.endswith("bias")
            weights[name] = torch.full(value.shape, float(is_scale))
    module.load_state_dict(weights)
    return module


def use_the_whole_range(last_layer: nn.Module) -> None:
    """For decoders that answer in [0, 1]: pictures around grey, with visible contrast."""
    last_layer.weight *= 5
    last_layer.bias += 0.5


def build(name: str):
    """MODEL of the family `name` from ComfyUI's classes, without a file."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    family = FAMILIES[name]
    config = getattr(comfy.supported_models, family.config)(dict(family.unet))
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, device="cpu")
    randomise(base.diffusion_model)
    return comfy.model_patcher.CoreModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def save(name: str, models: Path) -> Path:
    """Write the family's file below the folder `models`, as its loader expects it."""
    stored = FAMILIES[name].stored
    prefix = "model.diffusion_model." if stored == "checkpoints" else ""
    path = models / stored / f"tiny_{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = build(name).model.diffusion_model.state_dict().items()
    save_file({prefix + key: value.half().contiguous() for key, value in weights}, path)
    return path


def conditioning(name: str, tokens: int = 8) -> list:
    """An empty prompt: zeros of the family's widths."""
    family = FAMILIES[name]
    pooled = {"pooled_output": torch.zeros(1, family.pooled)} if family.pooled else {}
    mask = {"attention_mask": torch.ones(1, tokens)} if family.is_masked else {}
    return [[torch.zeros(1, tokens, family.context), pooled | mask]]


def empty_latent(model, frames: int = 1, side: int = 16) -> Tensor:
    """Zeros for one picture, or for one video of a video model."""
    latent_format = model.get_model_object("latent_format")
    time = [frames] if latent_format.latent_dimensions == 3 else []
    return torch.zeros(1, latent_format.latent_channels, *time, side, side)
