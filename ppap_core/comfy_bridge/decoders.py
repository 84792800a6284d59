"""Decoders of latents that can be differentiated, and that ComfyUI's memory management knows.

Read in ComfyUI 0.30.0. Each is a module of our own: the user's VAE cannot be differentiated,
because its weights were made in torch.inference_mode() and may be streamed to the GPU in pieces.
"""

import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path

import comfy.model_management
import comfy.sd
import comfy.taesd.taesd
import comfy.utils
import torch
from torch import Tensor, nn

from ..errors import one_line
from ..peak_memory import Peak, peak_of
from .doublings import doublings_of, without_doublings
from .memory import WholeModulePatcher, build_patcher

BACKWARD = 3  # memory of forward and backward pass, as multiples of a forward pass (an estimate)
TRIED = 16  # sides of the latent with which decoders are tried out
FIRST_LEFT_OUT = -2  # of a decoder's doublings: see docs/decisions/0014-half-size-decoding.md

log = logging.getLogger(__name__)


class Decoding(nn.Module):
    """`network`'s pictures in [-1, 1]; `in_unit_range`: its own are in [0, 1]."""

    def __init__(self, network: nn.Module, in_unit_range: bool):
        super().__init__()
        self.network = network
        self.in_unit_range = in_unit_range

    def forward(self, latent: Tensor) -> Tensor:
        image = self.network.decode(latent)
        return image * 2 - 1 if self.in_unit_range else image


@dataclass(frozen=True, eq=False)
class Decoder:
    """A decoder: latents (B, C, [T,] h, w) in its own space -> images in [-1, 1], float32.

    Each call can leave out the last of its doublings. `host_bytes`: ComfyUI's own estimate of a
    forward pass, of a latent's shape.
    """

    module: nn.Module
    patcher: WholeModulePatcher
    decoding: Decoding
    host_bytes: Callable[[tuple[int, ...]], float]
    channels: int
    is_video: bool
    _peaks: dict[tuple, Peak | None] = field(default_factory=dict)

    def __call__(self, latent: Tensor, left_out: int = 0) -> Tensor:
        weight = next(self.module.parameters())
        latent_there = latent.to(weight.device)
        return self._decode(self.decoding, latent_there, left_out).float().to(latent.device)

    def _decode(self, decoding: Decoding, latent: Tensor, left_out: int) -> Tensor:
        dtype = next(decoding.parameters()).dtype
        if not left_out:
            return decoding(latent.to(dtype))
        weights = {}
        if (fast := fast_dtype(self.patcher.load_device, dtype)) != dtype:
            weights = {name: _in_type(t, fast) for name, t in decoding.state_dict().items()}
        latent = latent.to(fast)
        if latent.ndim == 4 and _gains_by_channels_last(decoding, latent.device):
            latent = latent.contiguous(memory_format=torch.channels_last)
        with without_doublings(map(decoding.get_submodule, self._names[:left_out])):
            return torch.func.functional_call(decoding, weights, (latent,))

    @property
    def scale(self) -> int:
        """Pixels per side of the latent's; 0 if unknown."""
        peak = self._tried(0)
        return peak.shape[-1] // TRIED if peak else 0

    @cached_property
    def most_left_out(self) -> int:
        """How many doublings can be left out: 1, or 0 if its layers are not known."""
        if (whole := self._tried(0)) is None:
            return 0
        half = self._tried(1) if self._names else None
        sides = [side // 2 for side in whole.shape[-2:]]
        return int(half is not None and [*half.shape] == [*whole.shape[:-2], *sides])

    @cached_property
    def _names(self) -> list[str]:
        """Of the modules that double the size, in the order in which they are left out."""
        found: list[str] = []

        def run(decoding: Decoding, latent: Tensor) -> Tensor:
            found[:] = doublings_of(decoding, lambda: self._decode(decoding, latent, 0))
            return latent

        self._try_out(self._smallest(), run)
        return found[FIRST_LEFT_OUT:] + found[:FIRST_LEFT_OUT]

    def _tried(self, left_out: int) -> Peak | None:
        return self._peak(self._smallest(), left_out)

    def _smallest(self) -> tuple[int, ...]:
        frames = (1,) if self.is_video else ()
        return (1, self.channels, *frames, TRIED, TRIED)

    def num_bytes(self, shape: Sequence[int], left_out: int = 0) -> float:
        """Of the forward and the backward pass of latents of `shape`, without the weights."""
        shape = tuple(shape)
        if peak := self._peak(shape, left_out):
            return peak.num_bytes
        return BACKWARD * self.host_bytes(shape) / 4**left_out

    def _peak(self, shape: tuple[int, ...], left_out: int) -> Peak | None:
        """None if it cannot be told without decoding."""
        key = shape, left_out
        if key not in self._peaks:
            self._peaks[key] = self._try_out(shape, partial(self._decode, left_out=left_out))
        return self._peaks[key]

    def _try_out(
        self, shape: tuple[int, ...], run: Callable[[Decoding, Tensor], Tensor]
    ) -> Peak | None:
        device = "cuda" if self.patcher.load_device.type == "cuda" else "cpu"
        try:
            return peak_of(self.decoding, run, shape, device)
        except Exception as error:  # decoders of other packs may do anything
            log.debug("a decoder's memory cannot be told beforehand: %s", one_line(error))
            return None


def fast_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """bfloat16 in place of float32, where `device` computes faster in it."""
    if dtype != torch.float32 or getattr(comfy.model_management, "FORCE_FP32", False):
        return dtype
    if device.type == "cpu":
        names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        is_fast = any(getattr(torch.cpu, name, lambda: False)() for name in names)
    else:
        is_fast = comfy.model_management.should_use_bf16(device)
    return torch.bfloat16 if is_fast else dtype


def _gains_by_channels_last(network: nn.Module, device: torch.device) -> bool:
    """Convolutions do. Group norms gain nothing, and not every device has them for it."""
    has_norms = any(isinstance(layer, nn.GroupNorm) for layer in network.modules())
    return device.type in ("cpu", "cuda") and not has_norms


def _in_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


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
    host_bytes = lambda shape: 2178 * 64 * 4 * shape[-1] * shape[-2] / BACKWARD  # noqa: E731
    return _decoder(Decoding(module, False), host_bytes, channels, is_video)


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

    def host_bytes(shape: tuple[int, ...]) -> float:
        return memory_used(shape, dtype)

    kind = vae.latent_channels, vae.latent_dim == 3
    return _decoder(Decoding(module, in_unit_range), host_bytes, *kind)


def _decoder(
    decoding: Decoding,
    host_bytes: Callable[[tuple[int, ...]], float],
    channels: int,
    is_video: bool,
) -> Decoder:
    """The network of `decoding` frozen, without its encoder, in a patcher of its own."""
    module = decoding.network
    for name in ("encoder", "taesd_encoder"):
        if hasattr(module, name):
            setattr(module, name, nn.Identity())
    module.eval().requires_grad_(False)
    return Decoder(module, build_patcher(module), decoding, host_bytes, channels, is_video)
