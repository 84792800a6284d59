"""Diffusion models and decoders of full size, with random weights in their real layouts.

They cost what real ones cost, and need no download. The files lie in demo/cache, outside git.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from demo.paths import CACHE
from host import tiny_decoders
from host.tiny_checkpoints.families import FAMILIES, FLUX_DEV, SD_UNET, WAN

FILES = CACHE / "full_size"
LATENT_FRAMES = 2  # of videos, which have 5 frames then


class Layout(NamedTuple):
    """`config`: the class in comfy.supported_models. `unet`: the settings of its network. A prompt
    has `tokens` of `context` numbers, and `pooled` numbers for all of it.
    """

    config: str
    unet: dict
    tokens: int
    context: int
    pooled: int = 0


# fmt: off
# Settings that belong together share a line.
LAYOUTS = {  # by the name in the table; model_detection.py of ComfyUI 0.30.0 finds these settings
    "SD1.5": Layout("SD15", tokens=77, context=768, unet={
        **SD_UNET,
        "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "context_dim": 768,
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "use_linear_in_transformer": False, "adm_in_channels": None,
    }),
    "SDXL": Layout("SDXL", tokens=77, context=2048, pooled=1280, unet={
        **SD_UNET,
        "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "context_dim": 2048,
        "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "use_linear_in_transformer": True, "adm_in_channels": 2816, "num_classes": "sequential",
    }),
    "SD3 medium": Layout("SD3", tokens=154, context=4096, pooled=2048, unet={
        **FAMILIES["SD3"].unet,
        "depth": 24, "num_patches": 192 * 192, "pos_embed_max_size": 192,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": 4096, "out_features": 1536},
        },
    }),
    "Flux, 6 of 57 blocks": Layout("Flux", tokens=256, context=4096, pooled=768, unet={
        **FLUX_DEV,
        "num_heads": 24, "hidden_size": 3072, "depth": 2, "depth_single_blocks": 4,
        "context_in_dim": 4096, "vec_in_dim": 768, "guidance_embed": True,
    }),
    "Wan 2.1 1.3B, 5 frames": Layout("WAN21_T2V", tokens=512, context=4096, unet={
        **WAN, "dim": 1536, "num_heads": 12, "ffn_dim": 8960, "num_layers": 30,
    }),
}
# fmt: on


def build_without_weights(layout: Layout):
    """ComfyUI's BaseModel of `layout`; the tensors of its network are on the device meta."""
    import comfy.supported_models

    config = getattr(comfy.supported_models, layout.config)(dict(layout.unet))
    config.set_inference_dtype(torch.half, None)
    return config.get_model({}, device="meta")


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


def load_model(name: str, folder: Path = FILES):
    """MODEL, by ComfyUI's own loader. MemoryError, before anything is read, if it is too large."""
    import comfy.model_management
    import comfy.sd

    network = build_without_weights(LAYOUTS[name]).diffusion_model
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    needed = 2 * sum(map(math.prod, shapes.values()))
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    if needed > free:
        raise MemoryError(f"{needed / 1e9:.1f} GB of weights, {free / 1e9:.1f} GB are free")
    path = folder / f"{name}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        save_file(random_weights(shapes), unfinished)
        unfinished.rename(path)
    # Half precision in memory; a CPU still computes in float32.
    return comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.half})


def load_vae(latent_format, folder: Path = FILES):
    """VAE for latents of that format; a tiny decoder lies where ComfyUI's previews look for it."""
    import comfy.sd
    import comfy.utils
    import folder_paths

    channels = latent_format.latent_channels
    is_video = latent_format.latent_dimensions == 3
    name = latent_format.taesd_decoder_name.removesuffix("_decoder")
    vae_file = folder / f"vae_{name}.safetensors"
    if not vae_file.exists():
        if is_video:
            tiny_decoders.save_taehv(folder / f"{name}.safetensors", torch.float32)
            tiny_decoders.save_wan(vae_file, width=96)
        else:
            tiny_decoders.save_taesd(folder, name, channels)
            tiny_decoders.save_kl(vae_file, channels, width=128)
    folder_paths.add_model_folder_path("vae_approx", str(folder), is_default=True)
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_file)))


def empty_prompt(layout: Layout) -> list:
    """Zeros of the widths of `layout`."""
    pooled = {"pooled_output": torch.zeros(1, layout.pooled)} if layout.pooled else {}
    return [[torch.zeros(1, layout.tokens, layout.context), pooled]]


def latent_shape(latent_format, width: int, height: int) -> tuple[int, ...]:
    """Of one picture, or video, of `width` x `height` pixels."""
    frames = [LATENT_FRAMES] if latent_format.latent_dimensions == 3 else []
    sides = (side // latent_format.spacial_downscale_ratio for side in (height, width))
    return (latent_format.latent_channels, *frames, *sides)
