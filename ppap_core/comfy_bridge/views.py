"""Views of ComfyUI's latents: which of them a MODEL has, and how they are built.

Read in ComfyUI 0.30.0. States are in the model's latent space, after `process_in`: there the
factors of latent formats and TAESD decoders live (latent_preview.py), while VAEs and the video
formats' tiny decoders want `process_out` first (sd.py, VAE.decode).
"""

import copy
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import folder_paths
import torch
from torch import Tensor

from ..guiders import Guider
from ..reading import Reading
from ..views import DecoderView, LinearRgb, View, identity
from .decode_plans import plan_decode
from .decoders import Decoder, load_tiny_decoder, own_decoder

TAE_FOLDER = "vae_approx"


class BuiltView(NamedTuple):
    """`patchers`: ComfyUI's handles on the memory of the view's modules. `name`: never auto."""

    view: View
    patchers: list
    name: str


def build_view(name: str, model, vae=None, guider: Guider | None = None) -> BuiltView:
    """The view called `name` of the states of `model` (MODEL); `vae` (VAE) serves the view "vae".

    Pictures are decoded as large as `guider` reads them; None reads all (decode_plans.py).

    "auto" is the clearest there is: identity, taesd, vae, linear_rgb. ValueError, saying what to
    do, for an unknown view, one that this model has not, and for a missing file or VAE.
    """
    Reading(view=name)  # checks the name
    with torch.inference_mode(False), torch.no_grad():
        # A copy: formats with tensors (Wan's) may hold some that were made in inference mode.
        latent_format = copy.deepcopy(model.get_model_object("latent_format"))
        kind = type(latent_format).__name__  # ACE's audio has two dimensions, like a picture
        if latent_format.latent_dimensions not in (2, 3) or "Audio" in kind:
            raise ValueError(
                f"PPAP guidance reads pictures and videos; this model's latents are "
                f"{kind} (audio or packed)"
            )
        if name == "auto":
            name = clearest_view(latent_format, vae)
        return _BUILDERS[name](latent_format, vae, guider)


def clearest_view(latent_format, vae=None) -> str:
    """The name of the view in which a guider reads best: decoded, if there is a decoder.

    docs/evidence/views.md: 99 % of pictures are as asked through a decoder, 61 % without.
    """
    if works_on_pixels(latent_format):
        return "identity"
    if _tae_file(latent_format):
        return "taesd"
    if vae is not None:
        return "vae"
    return "linear_rgb" if latent_format.latent_rgb_factors is not None else "taesd"


def works_on_pixels(latent_format) -> bool:
    """Whether the model's states are pictures, not latents."""
    return latent_format.latent_channels == 3 and latent_format.spacial_downscale_ratio == 1


def _build_identity(latent_format, vae, guider) -> BuiltView:
    if not works_on_pixels(latent_format):
        raise ValueError(
            f"the view identity is for pixel models, but this one has latents "
            f"({type(latent_format).__name__}): choose the view auto, linear_rgb, taesd or vae"
        )
    return BuiltView(identity, [], "identity")


def _build_linear_rgb(latent_format, vae, guider) -> BuiltView:
    if latent_format.latent_rgb_factors is None:
        raise ValueError(
            f"ComfyUI has no RGB factors for {type(latent_format).__name__} latents: choose the "
            f"view vae and connect a VAE"
        )
    view = LinearRgb(
        latent_format.latent_rgb_factors,
        latent_format.latent_rgb_factors_bias,
        latent_format.latent_rgb_factors_reshape,
    )
    return BuiltView(view, [], "linear_rgb")


def _build_taesd(latent_format, vae, guider) -> BuiltView:
    path = _tae_file(latent_format)
    if path is None:
        raise ValueError(_no_tae(latent_format))
    is_video = latent_format.latent_dimensions == 3
    decoder = load_tiny_decoder(
        path, path.stat().st_mtime_ns, latent_format.latent_channels, is_video
    )
    # Space: see the top of this file.
    space = latent_format.process_out if is_video else lambda x_vp: x_vp
    return _decoder_view(decoder, space, "taesd", guider)


def _build_vae(latent_format, vae, guider) -> BuiltView:
    if vae is None:
        raise ValueError("the view vae needs a VAE: connect the one that decodes this model")
    _check_vae(vae, latent_format)
    return _decoder_view(own_decoder(vae), latent_format.process_out, "vae", guider)


_BUILDERS = {
    "identity": _build_identity,
    "linear_rgb": _build_linear_rgb,
    "taesd": _build_taesd,
    "vae": _build_vae,
}


def _decoder_view(
    decoder: Decoder, space: Callable[[Tensor], Tensor], name: str, guider: Guider | None
) -> BuiltView:
    def decode(x_vp: Tensor, left_out: int = 0) -> Tensor:
        return decoder(space(x_vp), left_out)

    view = DecoderView(decode, cache(partial(plan_decode, decoder, guider)))
    return BuiltView(view, [decoder.patcher], name)


def _tae_file(latent_format) -> Path | None:
    """ComfyUI's previews find it in the same way (latent_preview.py, get_previewer)."""
    name = latent_format.taesd_decoder_name
    for file in folder_paths.get_filename_list(TAE_FOLDER) if name else []:
        if file.startswith(name):
            return Path(folder_paths.get_full_path_or_raise(TAE_FOLDER, file))
    return None


def _no_tae(latent_format) -> str:
    name = latent_format.taesd_decoder_name
    if name is None:
        return (
            f"there is no tiny decoder for {type(latent_format).__name__} latents: choose the view "
            f"vae and connect a VAE"
        )
    folders = " or ".join(folder_paths.get_folder_paths(TAE_FOLDER))
    return (
        f"the view taesd needs the file {name}.safetensors (or .pth) in {folders}: put it there, "
        f"or choose another view"
    )


def _check_vae(vae, latent_format) -> None:
    """ValueError if `vae` visibly decodes other latents (some formats differ only in numbers)."""
    vae.throw_exception_if_invalid()
    wanted = latent_format.latent_channels, latent_format.latent_dimensions
    found = vae.latent_channels, vae.latent_dim
    if wanted != found:
        raise ValueError(
            f"the VAE decodes latents with (channels, dimensions) {found}, this model's "
            f"{type(latent_format).__name__} has {wanted}: connect the VAE of this model"
        )
