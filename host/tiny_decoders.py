"""Tiny random decoders in the files that ComfyUI's own loaders accept."""

from safetensors.torch import save_file

from host.tiny_checkpoints import randomise


def use_the_whole_range(last_layer):
    """Pictures around grey with visible contrast, for decoders that answer in [0, 1]."""
    last_layer.weight *= 5
    last_layer.bias += 0.5


def save_taesd(folder, name, channels):
    """`name`_encoder and `name`_decoder, as VAELoader wants them; the decoder's file."""
    import comfy.taesd.taesd

    taesd = randomise(comfy.taesd.taesd.TAESD(latent_channels=channels).requires_grad_(False))
    use_the_whole_range(taesd.taesd_decoder[-1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("encoder", "decoder"):
        weights = getattr(taesd, f"taesd_{kind}").state_dict()
        save_file(weights, folder / f"{name}_{kind}.safetensors")
    return folder / f"{name}_decoder.safetensors"


def save_taehv(path, dtype):
    """A tiny video decoder for 16 channels; ComfyUI tells Hunyuan's (float16) by its dtype."""
    import comfy.taesd.taehv

    module = randomise(comfy.taesd.taehv.TAEHV(16).requires_grad_(False))
    use_the_whole_range(module.decoder[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.to(dtype) for key, value in module.state_dict().items()}, path)
    return path


def save_kl(path, channels):
    """AutoencoderKL whose decoder has 32 channels; the encoder, which no test uses, is left out."""
    from comfy.ldm.modules.diffusionmodules.model import Decoder

    sizes = {"ch": 32, "ch_mult": (1, 2, 4, 4), "num_res_blocks": 2, "attn_resolutions": []}
    shape = {"out_ch": 3, "in_channels": 3, "resolution": 256, "z_channels": channels}
    decoder = randomise(Decoder(**sizes, **shape).requires_grad_(False))
    save_file({f"decoder.{key}": value for key, value in decoder.state_dict().items()}, path)
    return path


def save_wan(path):
    from comfy.ldm.wan.vae import WanVAE

    sizes = {"dim": 16, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
    times = {"attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0}
    vae = randomise(WanVAE(**sizes, **times).requires_grad_(False))
    save_file(vae.state_dict(), path)
    return path
