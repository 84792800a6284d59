"""Decoders as modules of our own, which autograd accepts and ComfyUI's memory management knows.

Read in ComfyUI 0.30.0. The user's own VAE cannot be used: its weights come out of
torch.inference_mode(), and may be streamed to the GPU piece by piece.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import comfy.model_management
import comfy.sd
import comfy.taesd.taesd
import comfy.utils
import torch
from torch import Tensor, nn

from ..views import DecodePlan
from .memory import WholeModulePatcher, build_patcher

BACKWARD = 3  # memory of forward and backward pass, in forward passes (an estimate)
SMALLEST_SIDE = 0.25


@dataclass(frozen=True)
class Decoder:
    """A decoder of our own. `decode`: in its space, (B, C, [T,] h, w) -> images in [-1, 1].

    `num_bytes`: latent shape -> what the forward and backward pass of one take.
    """

    module: nn.Module
    patcher: WholeModulePatcher
    decode: Callable[[Tensor], Tensor]
    num_bytes: Callable[[tuple[int, ...]], float]

    def __call__(self, latent: Tensor) -> Tensor:
        weight = next(self.module.parameters())
        return self.decode(latent.to(weight.device, weight.dtype)).float().to(latent.device)

    def plan(self, shape: torch.Size) -> DecodePlan:
        """All at once if it fits, else fewer pictures at once, else smaller ones."""
        device = next(self.module.parameters()).device
        free = comfy.model_management.get_free_memory(device)
        needed = self.num_bytes((1, *shape[1:]))
        if needed > free:
            return DecodePlan(1, max(SMALLEST_SIDE, (free / needed) ** 0.5))
        return DecodePlan(int(free // needed))


@lru_cache(maxsize=2)
def load_tiny_decoder(path: Path, modified_ns: int, channels: int, is_video: bool) -> Decoder:
    """A TAESD decoder file (its latents: the model's), or a video one (its latents: the VAE's).

    The same decoder for as long as the file is the same. ValueError if it is for other latents.
    """
    if is_video:
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path), safe_load=True))
        vae.throw_exception_if_invalid()
        return _decoder_of(vae, vae.first_stage_model)
    try:
        module = comfy.taesd.taesd.TAESD(None, str(path), latent_channels=channels)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} is no decoder of {channels} channels: {first}") from None
    # As for a VAE of unknown kind (sd.py): 34 maps of 64 channels at the picture's resolution.
    return _decoder(module, module.decode, lambda shape: 2178 * 64 * 4 * shape[-1] * shape[-2])


_own_decoders: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def own_decoder(vae) -> Decoder:
    """Our copy of the decoder of `vae` (VAE); the same one for as long as the user's VAE lives."""
    if vae.first_stage_model not in _own_decoders:
        _own_decoders[vae.first_stage_model] = _decoder_of(vae, _copy_module(vae))
    return _own_decoders[vae.first_stage_model]


def _copy_module(vae) -> nn.Module:
    """Loaded again where ComfyUI knows how, else built anew from the weights in memory."""
    if vae.patcher.cached_patcher_init is not None:
        return vae.patcher.clone(force_deepcopy=True).model
    weights = {key: value.detach().clone() for key, value in vae.get_sd().items()}
    metadata = {"tae_latent_channels": vae.latent_channels}
    own = comfy.sd.VAE(sd=weights, device=vae.device, dtype=vae.vae_dtype, metadata=metadata)
    return own.first_stage_model


def _decoder_of(vae, module: nn.Module) -> Decoder:
    """`module`, ours, as a decoder that behaves as `vae` does (and holds no reference to it)."""
    if hasattr(module, "parallel"):
        module.parallel = True  # TAEHV frame by frame cuts the graph between frames
    # VAEs answer in [-1, 1], those whose output ComfyUI takes as it is in [0, 1].
    in_unit_range = float(vae.process_output(torch.zeros(1))) == 0
    memory_used, dtype = vae.memory_used_decode, vae.vae_dtype

    def decode(latent):
        image = module.decode(latent)
        return image * 2 - 1 if in_unit_range else image

    return _decoder(module, decode, lambda shape: BACKWARD * memory_used(shape, dtype))


def _decoder(module: nn.Module, decode, num_bytes) -> Decoder:
    for name in ("encoder", "taesd_encoder"):
        if hasattr(module, name):
            setattr(module, name, nn.Identity())
    module.eval().requires_grad_(False)
    return Decoder(module, build_patcher(module), decode, num_bytes)
