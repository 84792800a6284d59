"""The U-Net of pixel-space diffusion models, in the layout of Dhariwal & Nichol, 2021 (ADM).

Layers and their names follow arXiv 2105.05233, appendix A, so that a checkpoint of that family
fits without renaming. `patch_size` folds pixels into channels around the network, which keeps
small models fast.
"""

import math
from dataclasses import asdict, dataclass, fields

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PixelUNetConfig:
    """What has to be known to build a `PixelUNet`; stored beside its weights.

    `channel_mult` has one entry per resolution; `attention_levels` names the entries that get
    self-attention. `prediction` is what the network answers: "eps" or "v". Norms have 32 groups as
    in ADM, fewer where a group would hold less than `group_channels` channels. `num_classes`: that
    the network can be told; 0 is the unconditional model.
    """

    image_size: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    attention_levels: tuple[int, ...]
    num_head_channels: int
    patch_size: int = 1
    in_channels: int = 3
    prediction: str = "v"
    group_channels: int = 4
    num_classes: int = 0

    def __post_init__(self):
        if self.prediction not in ("eps", "v"):
            raise ValueError(f"prediction is 'eps' or 'v', got {self.prediction!r}")
        if self.num_classes < 0:
            raise ValueError(f"num_classes is 0 (none) or above, got {self.num_classes}")
        stride = self.patch_size * 2 ** (len(self.channel_mult) - 1)
        if self.image_size % stride:
            raise ValueError(f"image_size {self.image_size} is no multiple of the stride {stride}")

    @classmethod
    def from_dict(cls, values: dict) -> "PixelUNetConfig":
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown entries in the pixel model's config: {', '.join(unknown)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict:
        return asdict(self)


def timestep_embedding(timesteps: torch.Tensor, dim: int, max_period: float = 10_000.0):
    """Cosine and sine features of `timesteps` (B,) in [0, 1000): (B, dim)."""
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(dim // 2, device=timesteps.device) / (dim // 2)
    )
    angles = timesteps.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _group_norm(channels: int, ops, factory: dict, group_channels: int):
    return ops.GroupNorm(min(32, channels // group_channels), channels, **factory)


class ResBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the time embedding."""

    def __init__(
        self, channels, emb_channels, out_channels, resample, ops, group_channels=4, **factory
    ):
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            _group_norm(channels, ops, factory, group_channels),
            nn.SiLU(),
            ops.Conv2d(channels, out_channels, 3, padding=1, **factory),
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), ops.Linear(emb_channels, 2 * out_channels, **factory)
        )
        self.out_layers = nn.Sequential(
            _group_norm(out_channels, ops, factory, group_channels),
            nn.SiLU(),
            nn.Identity(),
            ops.Conv2d(out_channels, out_channels, 3, padding=1, **factory),
        )
        self.skip_connection = (
            nn.Identity()
            if channels == out_channels
            else ops.Conv2d(channels, out_channels, 1, **factory)
        )

    def forward(self, x, emb):
        norm_in, act, conv_in = self.in_layers
        h = conv_in(self.resample(act(norm_in(x))))
        scale, shift = self.emb_layers(emb).to(h.dtype)[:, :, None, None].chunk(2, dim=1)
        norm_out, act, _, conv_out = self.out_layers
        h = conv_out(act(norm_out(h) * (1 + scale) + shift))
        return self.skip_connection(self.resample(x)) + h


class AttentionBlock(nn.Module):
    """Self-attention over all positions; q, k and v lie side by side within each head."""

    def __init__(self, channels, num_head_channels, ops, group_channels=4, **factory):
        super().__init__()
        self.num_heads = channels // num_head_channels
        self.norm = _group_norm(channels, ops, factory, group_channels)
        self.qkv = ops.Conv1d(channels, 3 * channels, 1, **factory)
        self.proj_out = ops.Conv1d(channels, channels, 1, **factory)

    def forward(self, x, emb):
        flat = rearrange(x, "b c h w -> b c (h w)")
        q, k, v = rearrange(
            self.qkv(self.norm(flat)), "b (n s c) l -> s b n l c", n=self.num_heads, s=3
        )
        h = F.scaled_dot_product_attention(q, k, v)
        h = self.proj_out(rearrange(h, "b n l c -> b (n c) l"))
        return x + h.view_as(x)


class Stage(nn.ModuleList):
    """Layers run one after the other; those that want the time embedding get it."""

    def forward(self, x, emb):
        for layer in self:
            x = layer(x, emb) if isinstance(layer, (ResBlock, AttentionBlock)) else layer(x)
        return x


def halve(x):
    return F.avg_pool2d(x, 2)


def double(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


class PixelUNet(nn.Module):
    """Noise-conditional U-Net. Called `(x, timesteps)`.

    `x`: (B, 3, H, W), the VP-scaled noisy image; H and W are multiples of the stride.
    `timesteps`: (B,) in [0, 1000). Answers eps or v, shaped like `x`. `operations` is
    ComfyUI's family of layers (torch.nn outside it).
    """

    def __init__(self, config: PixelUNetConfig, *, dtype=None, device=None, operations=nn):
        super().__init__()
        self.config = config
        self.dtype = dtype or torch.float32
        factory = {"dtype": dtype, "device": device}
        build = _Builder(config, operations, factory)
        self.time_embed = nn.Sequential(
            operations.Linear(config.model_channels, build.emb_channels, **factory),
            nn.SiLU(),
            operations.Linear(build.emb_channels, build.emb_channels, **factory),
        )
        if config.num_classes:
            self.label_emb = operations.Embedding(config.num_classes, build.emb_channels, **factory)
        self.input_blocks = build.down()
        self.middle_block = build.middle()
        self.output_blocks = build.up()
        self.out = nn.Sequential(
            _group_norm(build.channels, operations, factory, config.group_channels),
            nn.SiLU(),
            operations.Conv2d(build.channels, build.io_channels, 3, padding=1, **factory),
        )

    def forward(self, x, timesteps, context=None, y=None, **kwargs):
        """`y`: (B,) class indices, where the model has classes; below 0 is none."""
        emb = timestep_embedding(timesteps, self.config.model_channels).to(x.dtype)
        emb = self.time_embed(emb)
        if y is not None:
            if not self.config.num_classes:
                raise ValueError("this pixel model knows no classes; it was told some")
            emb = emb + torch.where(y[:, None] < 0, 0.0, self.label_emb(y.clamp(min=0)))
        h = F.pixel_unshuffle(x, self.config.patch_size)
        skips = []
        for stage in self.input_blocks:
            h = stage(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), emb)
        return F.pixel_shuffle(self.out(h), self.config.patch_size)


class _Builder:
    """Walks down and up the resolutions and keeps the channel counts of the skips."""

    def __init__(self, config, operations, factory):
        self.config = config
        self.ops = operations
        self.factory = factory
        self.emb_channels = 4 * config.model_channels
        self.io_channels = config.in_channels * config.patch_size**2
        self.channels = config.model_channels
        self.skips = []

    def res(self, channels, out_channels, resample=None):
        return ResBlock(
            channels,
            self.emb_channels,
            out_channels,
            resample or nn.Identity(),
            self.ops,
            self.config.group_channels,
            **self.factory,
        )

    def attend(self):
        config = self.config
        return AttentionBlock(
            self.channels, config.num_head_channels, self.ops, config.group_channels, **self.factory
        )

    def attention(self, level):
        return [self.attend()] if level in self.config.attention_levels else []

    def down(self):
        first = self.ops.Conv2d(self.io_channels, self.channels, 3, padding=1, **self.factory)
        stages = [Stage([first])]
        self.skips.append(self.channels)
        for level, mult in enumerate(self.config.channel_mult):
            for _ in range(self.config.num_res_blocks):
                block = self.res(self.channels, mult * self.config.model_channels)
                self.channels = mult * self.config.model_channels
                stages.append(Stage([block, *self.attention(level)]))
                self.skips.append(self.channels)
            if level < len(self.config.channel_mult) - 1:
                stages.append(Stage([self.res(self.channels, self.channels, halve)]))
                self.skips.append(self.channels)
        return nn.ModuleList(stages)

    def middle(self):
        def res():
            return self.res(self.channels, self.channels)

        return Stage([res(), self.attend(), res()])

    def up(self):
        stages = []
        for level, mult in reversed(list(enumerate(self.config.channel_mult))):
            for index in range(self.config.num_res_blocks + 1):
                block = self.res(
                    self.channels + self.skips.pop(), mult * self.config.model_channels
                )
                self.channels = mult * self.config.model_channels
                layers = [block, *self.attention(level)]
                if level and index == self.config.num_res_blocks:
                    layers.append(self.res(self.channels, self.channels, double))
                stages.append(Stage(layers))
        return nn.ModuleList(stages)
