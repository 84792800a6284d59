"""The layers of ADM's U-Net (Dhariwal & Nichol, 2021; arXiv 2105.05233, appendix A).

Layers and their names follow the published checkpoints, so that these fit without renaming.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """Cosine and sine features of `timesteps` (B,) in [0, 1000): (B, dim)."""
    index = torch.arange(dim // 2, device=timesteps.device)
    frequencies = torch.exp(-math.log(10_000.0) * index / (dim // 2))
    angles = timesteps.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Layers:
    """Makes elementary layers. `ops`: torch.nn or ComfyUI's; `factory`: their dtype and device.

    Norms have 32 groups, fewer where a group would hold less than `group_channels` channels.
    """

    def __init__(self, ops: Any = nn, group_channels: int = 4, **factory):
        self.ops, self.group_channels, self.factory = ops, group_channels, factory

    def linear(self, channels: int, out_channels: int) -> nn.Module:
        return self.ops.Linear(channels, out_channels, **self.factory)

    def conv(self, channels: int, out_channels: int, size: int = 3) -> nn.Module:
        return self.ops.Conv2d(channels, out_channels, size, padding=size // 2, **self.factory)

    def norm(self, channels: int) -> nn.Module:
        groups = min(32, channels // self.group_channels)
        return self.ops.GroupNorm(groups, channels, **self.factory)


class ResBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the time embedding.

    `resample`: changes the resolution of both branches, `halve`, `double` or nn.Identity().
    """

    def __init__(
        self,
        layers: Layers,
        channels: int,
        out_channels: int,
        emb_channels: int,
        resample: Callable[[Tensor], Tensor],
    ):
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            layers.norm(channels), nn.SiLU(), layers.conv(channels, out_channels)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), layers.linear(emb_channels, 2 * out_channels))
        norm, conv = layers.norm(out_channels), layers.conv(out_channels, out_channels)
        self.out_layers = nn.Sequential(norm, nn.SiLU(), nn.Identity(), conv)
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else layers.conv(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """`x`: (B, channels, H, W); `emb`: (B, emb_channels) -> (B, out_channels, H', W')."""
        norm_in, act, conv_in = self.in_layers
        h = conv_in(self.resample(act(norm_in(x))))
        scale, shift = self.emb_layers(emb).to(h.dtype)[:, :, None, None].chunk(2, dim=1)
        norm_out, act, _, conv_out = self.out_layers
        h = conv_out(act(norm_out(h) * (1 + scale) + shift))
        return self.skip_connection(self.resample(x)) + h


class AttentionBlock(nn.Module):
    """Self-attention over all positions; a head's q, k and v are neighbouring channels of `qkv`."""

    def __init__(self, layers: Layers, channels: int, num_head_channels: int):
        super().__init__()
        self.num_heads = channels // num_head_channels
        self.norm = layers.norm(channels)
        self.qkv = layers.ops.Conv1d(channels, 3 * channels, 1, **layers.factory)
        self.proj_out = layers.ops.Conv1d(channels, channels, 1, **layers.factory)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """`x`: (B, channels, H, W) -> the same shape; `emb` is not used."""
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat))
        q, k, v = rearrange(qkv, "b (n s c) l -> s b n l c", n=self.num_heads, s=3)
        h = F.scaled_dot_product_attention(q, k, v)
        h = self.proj_out(rearrange(h, "b n l c -> b (n c) l"))
        return x + h.view_as(x)


class Stage(nn.ModuleList):
    """Layers that run one after the other; our own blocks also get the time embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, (ResBlock, AttentionBlock)) else layer(x)
        return x


def halve(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H / 2, W / 2), the mean of 2 x 2 values."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), every value repeated."""
    return F.interpolate(x, scale_factor=2, mode="nearest")
