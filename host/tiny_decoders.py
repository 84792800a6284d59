"""Tiny random decoders in the files that ComfyUI's own loaders accept."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from host.tiny_checkpoints import randomise, use_the_whole_range


def save_taesd(folder: Path, name: str, channels: int) -> Path:
    """Write `name`_encoder and `name`_decoder for VAELoader; returns the decoder's file."""
    import comfy.taesd.taesd

    taesd = randomise(comfy.taesd.taesd.TAESD(latent_channels=channels).requires_grad_(False))
    use_the_whole_range(taesd.taesd_decoder[-1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("encoder", "decoder"):
        weights = getattr(taesd, f"taesd_{kind}").state_dict()
        save_file(weights, folder / f"{name}_{kind}.safetensors")
    return folder / f"{name}_decoder.safetensors"


def save_kl(path: Path, channels: int, width: int = 32) -> Path:
    """Write an AutoencoderKL, its decoder of `width` (Stable Diffusion: 128), without encoder."""
    from comfy.ldm.modules.diffusionmodules.model import Decoder

    size = {"ch": width, "ch_mult": (1, 2, 4, 4), "num_res_blocks": 2, "attn_resolutions": []}
    shape = {"in_channels": 3, "out_ch": 3, "resolution": 256, "z_channels": channels}
    decoder = randomise(Decoder(**size, **shape).requires_grad_(False))
    save_file({f"decoder.{key}": value for key, value in decoder.state_dict().items()}, path)
    return path


def save_taehv(path: Path, dtype: torch.dtype) -> Path:
    """Write a video decoder of 16 channels; ComfyUI takes one in float16 for Hunyuan's."""
    import comfy.taesd.taehv

    module = randomise(comfy.taesd.taehv.TAEHV(16).requires_grad_(False))
    use_the_whole_range(module.decoder[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.to(dtype) for key, value in module.state_dict().items()}, path)
    return path


def save_wan(path: Path, width: int = 16) -> Path:
    """Write Wan 2.1's VAE, of `width` (the real one: 96)."""
    from comfy.ldm.wan.vae import WanVAE

    size = {"dim": width, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
    times = [False, True, True]  # where time is halved
    vae = WanVAE(**size, attn_scales=[], temperal_downsample=times, dropout=0.0)
    save_file(randomise(vae.requires_grad_(False)).state_dict(), path)
    return path
