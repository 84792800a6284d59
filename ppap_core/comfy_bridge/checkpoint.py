"""The user's own checkpoint, whatever its family, loaded as ComfyUI's loader nodes load it.

Read in ComfyUI 0.30.0 (sd.py, nodes.py VAELoader). Needs a booted ComfyUI (headless.py).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import comfy.sd
import comfy.utils
import torch
from torch import Tensor, nn

from ..errors import SettingError, one_line
from ..file_hash import file_sha256
from ..pixels import bhwc_to_image
from .pixel_model import is_pixel_model, load_pixel_model


@dataclass(frozen=True)
class Checkpoint:
    """A MODEL with what came with it. `clip`, `vae`: None where the files hold none.

    `fingerprint`: SHA-256 of the diffusion model's file. `own_side`: side of the pictures that a
    pixel model was trained on.
    """

    model: object
    clip: object | None
    vae: object | None
    name: str
    fingerprint: str
    reads_prompts: bool = True
    own_side: int = 0

    @property
    def latent_format(self):
        return self.model.get_model_object("latent_format")

    @property
    def latent_format_name(self) -> str:
        return type(self.latent_format).__name__

    @property
    def works_on_pixels(self) -> bool:
        latent_format = self.latent_format
        return latent_format.spacial_downscale_ratio == 1 and latent_format.latent_channels == 3

    def latent_shape(self, width: int, height: int) -> tuple[int, ...]:
        """(C, h, w) of an empty latent, (C, 1, h, w) where the model's latents have frames.

        ValueError unless both sides are multiples of what one latent pixel covers.
        """
        latent_format = self.latent_format
        ratio = latent_format.spacial_downscale_ratio
        if width % ratio or height % ratio or min(width, height) < ratio:
            raise ValueError(
                f"width and height have to be multiples of {ratio} for {self.name}, got {width} x "
                f"{height}"
            )
        frames = [1] if latent_format.latent_dimensions == 3 else []
        return (latent_format.latent_channels, *frames, height // ratio, width // ratio)

    def networks(self) -> list[nn.Module | None]:
        """Those that pictures are made with."""
        encoder, vae = (getattr(self.clip, "cond_stage_model", None), self.vae)
        model = getattr(self.model.model, "diffusion_model", None)
        return [model, encoder, getattr(vae, "first_stage_model", None)]

    def check_decodes(self) -> None:
        """SettingError without a VAE, if the model's states are latents."""
        if not self.works_on_pixels and self.vae is None:
            raise SettingError(
                f"{self.name} brings no VAE, and its pictures have to be decoded", vae="give one"
            )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents as samplers return them -> (B, 3, H, W) in [-1, 1]."""
        if self.works_on_pixels:
            return latents.clamp(-1, 1)
        self.check_decodes()
        image_bhwc = self.vae.decode(latents)
        if image_bhwc.ndim == 5:  # frames: an image model has one
            image_bhwc = image_bhwc[:, 0]
        return bhwc_to_image(image_bhwc.float().cpu())


def load_checkpoint(
    path: Path | str,
    vae: str = "",
    text_encoders: Sequence[str] = (),
    clip_type: str = "stable_diffusion",
) -> Checkpoint:
    """Load one file, or a diffusion model with its `vae` and `text_encoders`.

    vae: a file, or a name of ComfyUI's Load VAE ("taesd", "taef1", "pixel_space", ...).
    clip_type: ComfyUI's name for what the text encoders belong to ("sd3", "flux", ...).
    ValueError if a file is missing, or ComfyUI does not know what it is.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    if is_pixel_model(path):
        model = load_pixel_model(path)
        side = model.model.model_config.unet_config["config"].image_size
        return Checkpoint(model, None, None, path.name, file_sha256(path), False, side)
    try:
        model, clip, own_vae, *_ = comfy.sd.load_checkpoint_guess_config(str(path))
    except Exception as error:  # whatever the host raises on a file that it cannot use
        raise ValueError(
            f"checkpoint {path.name!r} is not a model file that ComfyUI can read "
            f"({one_line(error, longest=100)})"
        ) from error
    if model is None:
        raise ValueError(f"checkpoint {path.name!r} holds no diffusion model")
    if own_vae is not None and getattr(own_vae, "first_stage_model", None) is None:
        own_vae = None
    return Checkpoint(
        model,
        load_text_encoders(text_encoders, clip_type) if text_encoders else clip,
        load_vae(vae) if vae else own_vae,
        path.name,
        file_sha256(path),
    )


def load_vae(name: str):
    """A VAE from a file, or by a name that ComfyUI's node Load VAE knows."""
    if Path(name).is_file():
        weights, metadata = comfy.utils.load_torch_file(name, return_metadata=True)
        vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        if vae.first_stage_model is None:
            raise ValueError(f"{name} is no VAE that ComfyUI knows")
        return vae
    import nodes  # ComfyUI's nodes.py

    known = nodes.VAELoader.vae_list(nodes.VAELoader)
    if name not in known:
        raise ValueError(f"there is no VAE {name!r}: give a file, or one of {', '.join(known)}")
    return nodes.VAELoader().load_vae(name)[0]


def load_text_encoders(paths: Sequence[str], clip_type: str):
    for path in paths:
        if not Path(path).is_file():
            raise ValueError(f"there is no text encoder {path}")
    kind = getattr(comfy.sd.CLIPType, clip_type.upper(), None)
    if kind is None:
        known = ", ".join(sorted(kind.name.lower() for kind in comfy.sd.CLIPType))
        raise ValueError(f"clip_type is one of {known}, got {clip_type!r}")
    return comfy.sd.load_clip([str(path) for path in paths], clip_type=kind)


def model_fingerprint(model) -> str:
    """SHA-256 over a few values of every weight: for a MODEL in memory, whose file is unknown.

    Its patches (LoRA and others) count as they are, whether they are merged at present or not.
    """
    digest = hashlib.sha256()
    unpatched = {key: kept.weight for key, kept in model.backup.items()}
    for name, value in sorted(model.model.diffusion_model.state_dict().items()):
        original = unpatched.get(f"diffusion_model.{name}", value)
        digest.update(f"{name} {_sample(original)}".encode())
    for key, patches in sorted(model.patches.items()):
        digest.update(f"{key} {_sample(patches)}".encode())
    return digest.hexdigest()


def _sample(value: object) -> str:
    """A text that tells `value`, a tensor or part of a patch, from others."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.detach().flatten()[:16].float().cpu().tolist()}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_sample, value))}]"
    if hasattr(value, "weights"):  # the host's LoRA, LoHa, LoKr, ...
        return f"{type(value).__name__} {_sample(value.weights)}"
    is_plain = value is None or isinstance(value, str | int | float)
    return repr(value) if is_plain else type(value).__name__
