"""Views: how the state of a diffusion model becomes an image that a guider can read.

A view maps a state in the model's own latent space (x_vp, or the estimate x0_hat), (B, C, H, W) or
video (B, C, T, H, W), to images (B, 3, h, w) in about [-1, 1], differentiably. The frames of a
video become pictures of the batch, video by video.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .parts import in_parts

log = logging.getLogger(__name__)

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
    """`at_once`: pictures per pass of the decoder; `side`: share of each side of the latent."""

    at_once: int
    side: float = 1.0


class DecoderView:
    """A decoder's picture of the state.

    `decode`: states (B, C, [T,] h, w) -> images (B, 3, [T',] H, W) in [-1, 1], differentiable.
    `plan` says, from the state's shape, how much memory allows (parts.py). A side below 1 shrinks
    the latent first, which also averages noise away: meant for states that fit in no other way.
    """

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        plan: Callable[[torch.Size], DecodePlan] = lambda shape: DecodePlan(shape[0]),
    ):
        self.decode = decode
        self.plan = plan
        self._has_told = False  # that memory is short

    def __call__(self, x_vp: Tensor) -> Tensor:
        plan = self.plan(x_vp.shape)
        if plan.side < 1 and not self._has_told:
            log.warning(
                "memory is short: the PPAP guider sees the decoded picture at %.0f %% of its size "
                "(the view linear_rgb or taesd needs less)",
                100 * plan.side,
            )
            self._has_told = True
        state = _shrink(x_vp, plan.side)
        return fold_frames(in_parts(self.decode, state, plan.at_once))


def _shrink(state: Tensor, side: float) -> Tensor:
    if side >= 1:
        return state
    size = [max(1, round(side * length)) for length in state.shape[-2:]]
    return F.interpolate(state, [*state.shape[2:-2], *size], mode="area")
