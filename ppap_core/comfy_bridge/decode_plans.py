"""How large a picture a guider is shown, and in which parts it is decoded.

As large as the guider reads it, if the decoder can leave out a doubling of its size. What that
takes is known before sampling, and compared with the device's whole memory, not with what is free:
the same seed gives the same picture on the same device. Where memory is short, pictures are decoded
fewer at once (which changes nothing), then at half their size, then in tiles.
"""

import logging
from collections.abc import Sequence
from functools import cache

import comfy.model_management
import torch
from torch import nn

from ..guiders import Guider
from ..tiles import largest_tile
from ..views import DecodePlan
from .decoders import Decoder
from .memory import PIXELS_PER_LATENT, bytes_of_one

SHARE = 0.75  # of the device's memory, for guider and decoder; the rest is for the model
SEVERAL = 1 / 3  # of that, for several pictures at once: more would push the model off the device
SMALLEST = 128  # sides of a picture: decoders have not learned to draw smaller ones
TILES = (2, 3, 4, 6, 8, 12, 16)  # per side

log = logging.getLogger(__name__)


def plan_decode(decoder: Decoder, guider: Guider | None, shape: Sequence[int]) -> DecodePlan:
    """For states of `shape` (B, C, [T,] h, w), which `guider` is to read; None reads all.

    ValueError, saying what to choose, if the device has no room for any plan.
    """
    unread = unread_doublings(decoder, guider, shape)
    room = _room(decoder, guider, shape, unread)
    for left_out in (unread, 1):
        left_out = left_out and decoder.most_left_out
        one = decoder.num_bytes((1, *shape[1:]), left_out)
        if one <= room:
            at_once = max(1, min(shape[0], int(SEVERAL * room // max(one, 1))))
            reason = _reason(decoder, shape, left_out, left_out > unread)
            return DecodePlan(at_once, left_out, num_bytes=at_once * one, reason=reason)
    for tiles in TILES:
        sides = [largest_tile(side, tiles) for side in shape[-2:]]
        one = decoder.num_bytes((1, *shape[1:-2], *sides), left_out)
        if one <= room:
            reason = f"memory is short: the guider sees a picture that is decoded in {tiles} x "
            reason += f"{tiles} tiles" + (", at half its size" if left_out else "")
            return DecodePlan(1, left_out, tiles, one, reason)
    raise ValueError(
        f"a latent of {shape[-1]} x {shape[-2]} is too large to be decoded for the guider, even in "
        f"tiles: that takes {one / 1e9:.1f} GB, and the device has {room / 1e9:.1f} GB for it; "
        f"choose the view linear_rgb or taesd, or a smaller picture"
    )


def unread_doublings(decoder: Decoder, guider: Guider | None, shape: Sequence[int]) -> int:
    """How many of the decoder's doublings show `guider` nothing that it reads: 0 or 1."""
    if guider is None:
        return 0
    whole = [side * (decoder.scale or PIXELS_PER_LATENT) for side in shape[-2:]]
    half = [side // 2 for side in whole]
    reads = guider.preprocessing.resized(whole)
    if min(half) < SMALLEST or any(read > side for read, side in zip(reads, half, strict=True)):
        return 0
    if not decoder.most_left_out:
        _say_that_it_is_unknown(type(decoder.module).__name__)
    return decoder.most_left_out


@cache
def _say_that_it_is_unknown(name: str) -> None:
    log.info(
        "PPAP guidance decodes whole pictures: the layers of this decoder (%s) are not known, so "
        "none of them can be left out",
        name,
    )


def _reason(decoder: Decoder, shape: Sequence[int], left_out: int, is_forced: bool) -> str:
    if not left_out:
        return ""
    height, width = (side * decoder.scale // 2 for side in shape[-2:])
    why = "memory is short" if is_forced else "it reads no more"
    return f"the guider sees the picture decoded at half its size, {width} x {height}: {why}"


def _room(decoder: Decoder, guider: Guider | None, shape: Sequence[int], left_out: int) -> float:
    """Bytes of the device for decoding, beside guider, decoder and the diffusion model.

    ValueError if there are none.
    """
    device = decoder.patcher.load_device
    total = comfy.model_management.get_total_memory(device)
    networks = [decoder.module, *([guider] if guider else [])]
    weights = sum(map(_weight_bytes, networks))
    room = SHARE * total - weights
    if guider and room > 0:
        scale = (decoder.scale or PIXELS_PER_LATENT) // 2**left_out
        room -= bytes_of_one(guider, (1, 3, *(scale * side for side in shape[-2:])))
    if room <= 0:
        raise ValueError(
            f"guider and decoder do not fit into the device's memory together (their weights take "
            f"{weights / 1e9:.1f} of {total / 1e9:.1f} GB): choose the view linear_rgb or taesd, "
            f"or a smaller guider"
        )
    return room


def _weight_bytes(network: nn.Module) -> int:
    tensors: list[torch.Tensor] = [*network.parameters(), *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
