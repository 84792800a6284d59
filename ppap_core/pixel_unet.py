"""The U-Net of pixel-space diffusion models, in the layout of Dhariwal & Nichol, 2021 (ADM)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import pixel_unet_layers as blocks
from .pixel_unet_layers import Layers, Stage


@dataclass(frozen=True)
class PixelUNetConfig:
    """What has to be known to build a `PixelUNet`; stored beside its weights.

    `channel_mult` has one entry per resolution; `attention_levels` are the indices of those with
    self-attention. `patch_size` folds pixels into channels around the network, which keeps small
    models fast. `prediction`: "eps" or "v". `group_channels`: see `Layers`. `num_classes`: 0 for an
    unconditional model.
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

    def __post_init__(self) -> None:
        if self.prediction not in ("eps", "v"):
            raise ValueError(f"prediction is 'eps' or 'v', got {self.prediction!r}")
        if self.num_classes < 0:
            raise ValueError(f"num_classes is 0 (none) or above, got {self.num_classes}")
        stride = self.patch_size * 2 ** (len(self.channel_mult) - 1)
        if self.image_size % stride:
            raise ValueError(f"image_size {self.image_size} is no multiple of the stride {stride}")

    @classmethod
    def from_dict(cls, values: dict) -> "PixelUNetConfig":
        """The inverse of `dataclasses.asdict`, also after JSON. ValueError for unknown entries."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown entries in the pixel model's config: {', '.join(unknown)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class PixelUNet(nn.Module):
    """Noise-conditional U-Net. `operations`: the family of its layers, torch.nn or ComfyUI's."""

    def __init__(
        self,
        config: PixelUNetConfig,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations: Any = nn,
    ):
        super().__init__()
        self.config = config
        self.dtype = dtype or torch.float32
        layers = Layers(operations, config.group_channels, dtype=dtype, device=device)
        build = _Builder(config, layers)
        emb_channels = build.emb_channels
        first = layers.linear(config.model_channels, emb_channels)
        self.time_embed = nn.Sequential(first, nn.SiLU(), layers.linear(emb_channels, emb_channels))
        if config.num_classes:
            self.label_emb = operations.Embedding(
                config.num_classes, emb_channels, **layers.factory
            )
        self.input_blocks = build.down()
        self.middle_block = build.middle()
        self.output_blocks = build.up()
        self.out = nn.Sequential(
            layers.norm(build.channels), nn.SiLU(), layers.conv(build.channels, build.io_channels)
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """The noisy image `x` (B, 3, H, W), VP-scaled -> eps or v, shaped like `x`.

        H and W are multiples of the stride. `timesteps`: (B,) in [0, 1000). `y`: (B,) class
        indices, below 0 for none, if the model has classes. ComfyUI also passes `context` and other
        arguments, which mean nothing to this network.
        """
        time = blocks.timestep_embedding(timesteps, self.config.model_channels)
        emb = self.time_embed(time.to(x.dtype))
        if y is not None:
            if not self.config.num_classes:
                raise ValueError("this pixel model has no classes, but y names some")
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
    """Builds the blocks in the order of the forward pass: `down`, `middle`, `up`.

    `channels`: those of the block built last. `skips`: those of skip connections not yet used.
    """

    def __init__(self, config: PixelUNetConfig, layers: Layers):
        self.config, self.layers = config, layers
        self.emb_channels = 4 * config.model_channels
        self.io_channels = config.in_channels * config.patch_size**2
        self.widths = [mult * config.model_channels for mult in config.channel_mult]
        self.channels = config.model_channels
        self.skips: list[int] = []

    def res(
        self, out_channels: int, resample: Callable | None = None, skip: int = 0
    ) -> blocks.ResBlock:
        channels, self.channels = self.channels + skip, out_channels
        return blocks.ResBlock(
            self.layers, channels, out_channels, self.emb_channels, resample or nn.Identity()
        )

    def attend(self) -> blocks.AttentionBlock:
        return blocks.AttentionBlock(self.layers, self.channels, self.config.num_head_channels)

    def attention(self, level: int) -> list[blocks.AttentionBlock]:
        return [self.attend()] if level in self.config.attention_levels else []

    def down(self) -> nn.ModuleList:
        stages = nn.ModuleList([Stage([self.layers.conv(self.io_channels, self.channels)])])
        self.skips.append(self.channels)
        for level, width in enumerate(self.widths):
            for _ in range(self.config.num_res_blocks):
                stages.append(Stage([self.res(width), *self.attention(level)]))
                self.skips.append(width)
            if level < len(self.widths) - 1:
                stages.append(Stage([self.res(width, blocks.halve)]))
                self.skips.append(width)
        return stages

    def middle(self) -> Stage:
        return Stage([self.res(self.channels), self.attend(), self.res(self.channels)])

    def up(self) -> nn.ModuleList:
        stages = nn.ModuleList()
        for level, width in reversed(list(enumerate(self.widths))):
            for index in range(self.config.num_res_blocks + 1):
                stage = Stage([self.res(width, skip=self.skips.pop()), *self.attention(level)])
                if level and index == self.config.num_res_blocks:
                    stage.append(self.res(width, blocks.double))
                stages.append(stage)
        return stages
