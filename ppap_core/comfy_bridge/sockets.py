"""What other packs' nodes put into IMAGE and MASK sockets, in the shapes that ComfyUI documents.

Read in ComfyUI 0.30.0: an IMAGE is (B, H, W, 3) in [0, 1], a MASK (B, H, W). Nodes of other packs
also give grey pictures, pictures with alpha, and single ones without their batch axis.
"""

from typing import Any

from torch import Tensor

from ..pixels import bhwc_to_image

GREY, COLOUR = (1, 2), (3, 4)  # channels, without and with alpha
CHANNELS = (*GREY, *COLOUR)
SCALES = (1, 255, 65535)  # of whole numbers: the lowest that no value is above


def read_image(value: Any, socket: str = "image") -> Tensor:
    """An IMAGE -> (B, 3, H, W) in [-1, 1]; grey becomes colour, alpha is left out.

    Without a last axis of 1 to 4 channels it is grey; an axis that is missing then is the batch.
    ValueError, naming the socket, for anything else; also for (3, H, W), which may be one picture
    with its channels first, or three grey ones.
    """
    tensor = _numbers(value, socket, "IMAGE")
    has_channels = tensor.ndim == 4 or (tensor.ndim == 3 and tensor.shape[-1] in CHANNELS)
    bhwc = tensor if has_channels else tensor[..., None]
    bhwc = bhwc[None] if bhwc.ndim == 3 else bhwc
    is_unclear = not has_channels and tensor.ndim == 3 and len(tensor) in COLOUR
    if is_unclear or bhwc.ndim != 4 or bhwc.shape[-1] not in CHANNELS or not bhwc.numel():
        raise ValueError(
            f"the socket {socket!r} takes an IMAGE of (batch, height, width, channels), with 1 to "
            f"4 channels; it got {_shape(tensor)}: connect pictures, such as those of Load Image"
        )
    if bhwc.shape[-1] in GREY:
        bhwc = bhwc[..., :1].expand(*bhwc.shape[:-1], 3)
    return bhwc_to_image(bhwc)


def read_mask(value: Any, socket: str = "mask") -> Tensor:
    """A MASK -> (R, H, W) in [0, 1]; one with an axis for a single channel too.

    ValueError, naming the socket, for anything else.
    """
    tensor = _numbers(value, socket, "MASK")
    mask = tensor[None] if tensor.ndim == 2 else tensor
    if mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[-1]):
        mask = mask.squeeze(1 if mask.shape[1] == 1 else -1)
    if mask.ndim != 3 or not mask.numel():
        raise ValueError(
            f"the socket {socket!r} takes a MASK of (batch, height, width); it got "
            f"{_shape(tensor)}: connect a mask, or put Convert Image to Mask before it"
        )
    return mask


def _numbers(value: Any, socket: str, kind: str) -> Tensor:
    """`value` as it is if it has floating point numbers; whole ones become 0 to 1.

    ValueError, naming the socket, for what is no tensor of finite real numbers.
    """
    if not isinstance(value, Tensor) or value.is_complex():
        raise ValueError(
            f"the socket {socket!r} takes one {kind}; it got a {type(value).__name__}: connect a "
            f"node that gives {kind}"
        )
    if value.is_floating_point():
        if not value.isfinite().all():
            raise ValueError(
                f"what the socket {socket!r} got has values that are no numbers (NaN or infinite), "
                f"like a picture that was not decoded rightly: connect another {kind}"
            )
        return value
    highest = value.max() if value.numel() else 0
    return value.float() / next((scale for scale in SCALES if highest <= scale), highest)


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
