"""Views: how the state of a diffusion model becomes an image that a guider can read.

A view maps a state in the model's own latent space (x_vp, or the estimate x0_hat), (B, C, H, W) or
video (B, C, T, H, W), to images (B, 3, h, w) in about [-1, 1], differentiably. The frames of a
video become pictures of the batch, video by video.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .parts import in_parts
from .tiles import in_tiles

View = Callable[[Tensor], Tensor]


def identity(x_vp: Tensor) -> Tensor:
    """Pixel models: the state (B, 3, H, W) is the image, in [-1, 1] where it is clean."""
    if x_vp.ndim != 4 or x_vp.shape[1] != 3:
        raise ValueError(
            f"the identity view reads pixel models (B, 3, H, W); this model's state is "
            f"{tuple(x_vp.shape)}: guide a pixel-space model or choose another view"
        )
    return x_vp


def fold_frames(state: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B T, C, H, W); pictures stay as they are."""
    return rearrange(state, "b c t h w -> (b t) c h w") if state.ndim == 5 else state


class LinearRgb:
    """RGB as a linear map of the channels, at the latent's resolution; one pixel, one product.

    `factors`: (C, 3), `bias`: (3,). `reshape`, if any, comes first and unfolds channels into
    pixels. Source: the factors that ComfyUI's latent formats carry for previews.
    """

    def __init__(
        self,
        factors: Sequence[Sequence[float]],
        bias: Sequence[float] | None = None,
        reshape: View | None = None,
    ):
        self.factors = factors
        self.bias = bias
        self.reshape = reshape

    def __call__(self, x_vp: Tensor) -> Tensor:
        """ValueError if the state has other channels than the factors."""
        state = fold_frames(x_vp)
        state = self.reshape(state) if self.reshape else state
        if state.ndim != 4 or state.shape[1] != len(self.factors):
            raise ValueError(
                f"the linear_rgb view reads latents with {len(self.factors)} channels; this "
                f"model's state is {tuple(x_vp.shape)}"
            )
        # New tensors per call: kept ones could stem from inference mode, which autograd refuses.
        weight = state.new_tensor(self.factors).T
        bias = None if self.bias is None else state.new_tensor(self.bias)
        return F.linear(state.movedim(1, -1), weight, bias).movedim(-1, 1)


class DecodePlan(NamedTuple):
    """How to decode states of one shape.

    `at_once`: pictures per pass of the decoder. `left_out`: how many of the decoder's doublings of
    the size. `tiles`: per side, each decoded on its own. `num_bytes`: what that takes, with its
    backward pass; 0 if unknown. `reason`: why the guider sees another picture than the whole one.
    """

    at_once: int
    left_out: int = 0
    tiles: int = 1
    num_bytes: float = 0
    reason: str = ""


class DecoderView:
    """A decoder's picture of the state.

    `decode`: states (B, C, [T,] h, w) -> images (B, 3, [T',] H, W) in [-1, 1], differentiable; with
    `left_out`, of smaller images. `plan` says, from the state's shape, how to decode it; ValueError
    if that is too large.
    """

    def __init__(
        self,
        decode: Callable[..., Tensor],
        plan: Callable[[torch.Size], DecodePlan] = lambda shape: DecodePlan(shape[0]),
    ):
        self.decode = decode
        self.plan = plan

    def __call__(self, x_vp: Tensor) -> Tensor:
        plan = self.plan(x_vp.shape)
        decode = partial(self.decode, left_out=plan.left_out) if plan.left_out else self.decode
        if plan.tiles > 1:
            pictures = [in_tiles(decode, picture, plan.tiles) for picture in x_vp.split(1)]
            return fold_frames(torch.cat(pictures))
        return fold_frames(in_parts(decode, x_vp, plan.at_once))
