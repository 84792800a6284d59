"""A checkpoint of which Load Checkpoint makes MODEL, CLIP and VAE."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from .models import build, randomise, use_the_whole_range

MODEL, CLIP, VAE = "model.diffusion_model.", "cond_stage_model.", "first_stage_model."


def save_whole(path: Path) -> Path:
    """SD1.5's layout: a tiny network, a tiny decoder, and a text encoder of zeros.

    ComfyUI accepts no text encoder of another size, so the file has 280 MB.
    """
    import comfy.sd1_clip
    import comfy.taesd.taesd

    vae = randomise(comfy.taesd.taesd.TAESD(latent_channels=4).requires_grad_(False))
    vae.vae_scale.fill_(0.18215)
    use_the_whole_range(vae.taesd_decoder[-1])
    clip = comfy.sd1_clip.SDClipModel(device="meta")
    weights = {
        MODEL + key: value.half().contiguous()
        for key, value in build("SD15").model.diffusion_model.state_dict().items()
    }
    weights |= {VAE + key: value for key, value in vae.state_dict().items()}
    for key, value in clip.state_dict().items():
        weights[CLIP + key] = torch.zeros(value.shape, dtype=torch.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path
