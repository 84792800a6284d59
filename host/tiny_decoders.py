"""Tiny random decoders in the files that ComfyUI's own loaders accept."""

from pathlib import Path

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
