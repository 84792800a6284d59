"""The U-Net of pixel-space diffusion models, in the layout of Dhariwal & Nichol, 2021 (ADM)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .pixel_unet_layers import (
    AttentionBlock,
    ResBlock,
    Stage,
    double,
    group_norm,
    halve,
    timestep_embedding,
)


@dataclass(frozen=True)
class PixelUNetConfig:
    """What has to be known to build a `PixelUNet`; stored beside its weights.

    `channel_mult` has one entry per resolution; `attention_levels` are the indices of those with
    self-attention. `patch_size` folds pixels into channels around the network, which keeps small
    models fast. `prediction`: what the network answers, "eps" or "v". Norms have 32 groups as in
    ADM, fewer where a group would hold less than `group_channels` channels. `num_classes`: how many
    classes the network can be conditioned on; 0 for an unconditional model.
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
        """The inverse of `to_dict`, also after JSON. ValueError for unknown entries."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown entries in the pixel model's config: {', '.join(unknown)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict:
        """The entries by name, of types that JSON can hold."""
        return asdict(self)


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
            group_norm(build.channels, operations, factory, config.group_channels),
            nn.SiLU(),
            operations.Conv2d(build.channels, build.io_channels, 3, padding=1, **factory),
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
        emb = timestep_embedding(timesteps, self.config.model_channels).to(x.dtype)
        emb = self.time_embed(emb)
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

    def __init__(self, config: PixelUNetConfig, operations: Any, factory: dict):
        self.config = config
        self.ops = operations
        self.factory = factory
        self.emb_channels = 4 * config.model_channels
        self.io_channels = config.in_channels * config.patch_size**2
        self.channels = config.model_channels
        self.skips: list[int] = []

    def res(
        self, channels: int, out_channels: int, resample: Callable[[Tensor], Tensor] | None = None
    ) -> ResBlock:
        return ResBlock(
            channels=channels,
            emb_channels=self.emb_channels,
            out_channels=out_channels,
            resample=resample or nn.Identity(),
            ops=self.ops,
            group_channels=self.config.group_channels,
            **self.factory,
        )

    def attend(self) -> AttentionBlock:
        return AttentionBlock(
            channels=self.channels,
            num_head_channels=self.config.num_head_channels,
            ops=self.ops,
            group_channels=self.config.group_channels,
            **self.factory,
        )

    def attention(self, level: int) -> list[AttentionBlock]:
        return [self.attend()] if level in self.config.attention_levels else []

    def down(self) -> nn.ModuleList:
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

    def middle(self) -> Stage:
        def res() -> ResBlock:
            return self.res(self.channels, self.channels)

        return Stage([res(), self.attend(), res()])

    def up(self) -> nn.ModuleList:
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
