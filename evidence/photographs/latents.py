"""FLUX.2's latents by its tiny encoder and decoder: ways to show them to a guider.

Read in ComfyUI 0.30.0, which has to be booted: its own TAESD and RGB factors, through the pack's
views.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from evidence.photographs.sources import DECODER, ENCODER
from ppap_core.pixels import bytes_to_image
from ppap_core.views import DecodePlan, DecoderView, LinearRgb, View

CHANNELS = 128
FULL, HALF = "decoder", "decoder without one doubling"
LAST_TWO, FIRST = "decoder without the last two doublings", "decoder without the first doubling"
FIRST_TWO = "decoder without the first two doublings"
SHRUNK, LINEAR = "decoder of the latent at half size", "linear map"
VIEWS = (FULL, HALF, LAST_TWO, FIRST, FIRST_TWO, SHRUNK, LINEAR)
LEFT_OUT = {LAST_TWO: (-2, -1), FIRST: (0,), FIRST_TWO: (0, 1)}  # doublings, by their place


@torch.no_grad()
def encode(pictures: Tensor, networks: Path) -> Tensor:
    """(N, 3, H, W) uint8 -> latents (N, 128, H / 16, W / 16)."""
    ENCODER.check(networks)
    import comfy.taesd.taesd

    encoder = comfy.taesd.taesd.TAESD(str(networks / ENCODER.path), None, CHANNELS)
    return torch.cat([encoder.encode(bytes_to_image(part)) for part in pictures.split(8)])


def tiny_autoencoder(networks: Path):
    """VAE of both halves, as ComfyUI's Load VAE builds it."""
    import comfy.sd

    weights = {}
    for part, source in (("encoder", ENCODER), ("decoder", DECODER)):
        source.check(networks)
        found = load_file(networks / source.path)
        weights |= {f"taesd_{part}.{name}": value for name, value in found.items()}
    return comfy.sd.VAE(sd=weights, metadata={"tae_latent_channels": CHANNELS})


@cache
def build_view(name: str, networks: Path, dtype: torch.dtype = torch.float32) -> View:
    """One of VIEWS, from latents to images; the decoder computes in `dtype`."""
    if name == LINEAR:
        import comfy.latent_formats

        space = comfy.latent_formats.Flux2()
        factors = space.latent_rgb_factors, space.latent_rgb_factors_bias
        return LinearRgb(*factors, space.latent_rgb_factors_reshape)
    DECODER.check(networks)
    from ppap_core.comfy_bridge.decoders import load_tiny_decoder

    load = load_tiny_decoder.__wrapped__  # past its cache: a copy for each way to use it
    decoder = load(networks / DECODER.path, 0, CHANNELS, is_video=False)
    decoder.module.to(dtype=dtype, memory_format=torch.channels_last)
    if name == SHRUNK:
        return DecoderView(lambda latent: decoder(halved(latent)))
    if name == HALF:  # as the pack does it
        return DecoderView(decoder, lambda shape: DecodePlan(shape[0], left_out=1))
    if places := LEFT_OUT.get(name):
        return DecoderView(_without(decoder, places))
    return DecoderView(decoder)


def _without(decoder: Callable, places: Iterable[int]) -> Callable[[Tensor], Tensor]:
    """`decoder` (a Decoder) without some of its doublings."""
    from ppap_core.comfy_bridge.doublings import doublings_of, without_doublings

    names = doublings_of(decoder.decoding, lambda: decoder(torch.zeros(1, CHANNELS, 4, 4)))
    modules = [decoder.decoding.get_submodule(names[place]) for place in places]

    def decode(latent: Tensor) -> Tensor:
        with without_doublings(modules):
            return decoder(latent)

    return decode


def halved(latent: Tensor) -> Tensor:
    return F.interpolate(latent, scale_factor=0.5, mode="bilinear", antialias=True)
