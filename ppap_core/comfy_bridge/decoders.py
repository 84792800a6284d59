"""Decoders of latents that can be differentiated, and that ComfyUI's memory management knows.

Read in ComfyUI 0.30.0. Each is a module of our own: the user's VAE cannot be differentiated,
because its weights were made in torch.inference_mode() and may be streamed to the GPU in pieces.
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

from ..errors import one_line
from ..views import DecodePlan
from .memory import WholeModulePatcher, build_patcher

BACKWARD = 3  # memory of forward and backward pass, as multiples of a forward pass (an estimate)
SMALLEST_SIDE = 0.25  # of the latent's side, however short memory is


@dataclass(frozen=True)
class Decoder:
    """A decoder: latents (B, C, [T,] h, w) in its own space -> images in [-1, 1], float32.

    `decode` does that on `module`'s device, in its type. `num_bytes`: a latent's shape -> the
    memory that its forward and backward pass take.
    """

    module: nn.Module
    patcher: WholeModulePatcher
    decode: Callable[[Tensor], Tensor]
    num_bytes: Callable[[tuple[int, ...]], float]

    def __call__(self, latent: Tensor) -> Tensor:
        weight = next(self.module.parameters())
        return self.decode(latent.to(weight.device, weight.dtype)).float().to(latent.device)

    def plan(self, shape: torch.Size) -> DecodePlan:
        """How to decode latents of `shape` in the free memory.

        All at once if they fit, else fewer pictures at once, else smaller ones.
        """
        device = next(self.module.parameters()).device
        free = comfy.model_management.get_free_memory(device)
        needed = self.num_bytes((1, *shape[1:]))
        if needed > free:
            return DecodePlan(1, max(SMALLEST_SIDE, (free / needed) ** 0.5))
        return DecodePlan(int(free // needed))


@lru_cache(maxsize=2)
def load_tiny_decoder(path: Path, modified_ns: int, channels: int, is_video: bool) -> Decoder:
    """The decoder in a TAESD file (reads the model's latents) or a video one (the VAE's latents).

    `modified_ns`, the time of the file's last change, makes the cache load a changed file again.
    ValueError if the file is for latents of other than `channels` channels.
    """
    if is_video:
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path), safe_load=True))
        vae.throw_exception_if_invalid()
        return _decoder_of(vae, vae.first_stage_model)
    try:
        module = comfy.taesd.taesd.TAESD(None, str(path), latent_channels=channels)
    except RuntimeError as error:
        raise ValueError(
            f"{path} is no decoder of {channels} channels: {one_line(error)}"
        ) from None
    # ComfyUI's estimate for a VAE of unknown kind (sd.py): 34 maps of 64 channels, full resolution.
    return _decoder(module, module.decode, lambda shape: 2178 * 64 * 4 * shape[-1] * shape[-2])


_own_decoders: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def own_decoder(vae: comfy.sd.VAE) -> Decoder:
    """Our copy of the decoder of `vae`; made once, and freed with the user's VAE."""
    if vae.first_stage_model not in _own_decoders:
        _own_decoders[vae.first_stage_model] = _decoder_of(vae, _copy_module(vae))
    return _own_decoders[vae.first_stage_model]


def _copy_module(vae: comfy.sd.VAE) -> nn.Module:
    """Loaded from its file again if ComfyUI can do that, else built from the weights in memory."""
    if vae.patcher.cached_patcher_init is not None:
        return vae.patcher.clone(force_deepcopy=True).model
    weights = {key: value.detach().clone() for key, value in vae.get_sd().items()}
    metadata = {"tae_latent_channels": vae.latent_channels}
    own = comfy.sd.VAE(sd=weights, device=vae.device, dtype=vae.vae_dtype, metadata=metadata)
    return own.first_stage_model


def _decoder_of(vae: comfy.sd.VAE, module: nn.Module) -> Decoder:
    """`module`, our own, as a decoder that behaves like `vae` and holds no reference to it."""
    if hasattr(module, "parallel"):
        module.parallel = True  # decoding frame by frame, TAEHV cuts autograd's graph between them
    # Modules answer in [-1, 1], except those whose output ComfyUI does not convert: in [0, 1].
    in_unit_range = float(vae.process_output(torch.zeros(1))) == 0
    memory_used, dtype = vae.memory_used_decode, vae.vae_dtype

    def decode(latent: Tensor) -> Tensor:
        image = module.decode(latent)
        return image * 2 - 1 if in_unit_range else image

    return _decoder(module, decode, lambda shape: BACKWARD * memory_used(shape, dtype))


def _decoder(
    module: nn.Module,
    decode: Callable[[Tensor], Tensor],
    num_bytes: Callable[[tuple[int, ...]], float],
) -> Decoder:
    """`module` frozen, without its encoder, in a patcher of its own."""
    for name in ("encoder", "taesd_encoder"):
        if hasattr(module, name):
            setattr(module, name, nn.Identity())
    module.eval().requires_grad_(False)
    patcher = build_patcher(module)
    return Decoder(module=module, patcher=patcher, decode=decode, num_bytes=num_bytes)
