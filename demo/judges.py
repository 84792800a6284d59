"""Judges of generated pictures, for evaluation only: one names the shape, one answers per pixel.

They share nothing with the guiders: neither renders, nor seeds, nor architectures. The judge of
classes has no batch statistics and no skip connections; the judge of maps has convolutions, where
the guiders are transformers.
"""

from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from demo.shading import SEGMENTS

NUM_FEATURES = 128
J = TypeVar("J", bound=nn.Module)


def block(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, width_out), nn.SiLU())


class Judge(nn.Module):
    """image (B, 3, 32, 32) in [-1, 1] -> logits (B, 10), one per name in `demo.shapes.SHAPES`."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(12, 64),
            block(64, 64),
            block(64, 96, stride=2),
            block(96, 128),
            block(128, 128, stride=2),
            block(128, NUM_FEATURES),
        )
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def features(self, image: Tensor) -> Tensor:
        """image (B, 3, 32, 32) in [-1, 1] -> (B, NUM_FEATURES), the space of Frechet distances."""
        return self.trunk(image).mean((2, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def trained(judge: J, path: Path) -> J:
    """`judge` with the weights in `path`, frozen, in evaluation mode and float32."""
    judge.load_state_dict(load_file(path))
    return judge.eval().requires_grad_(False)


def load_judge(path: Path) -> Judge:
    return trained(Judge(), path)


class Dense(NamedTuple):
    """`nearness` (B, H, W), see `demo.measures.nearness_of`; `logits` (B, 3, H, W)."""

    nearness: Tensor
    logits: Tensor


class DenseJudge(nn.Module):
    """image (B, 3, 32, 32) in [-1, 1] -> nearness and the logits of `demo.shading.SEGMENTS`."""

    def __init__(self, num_maps: int = 1 + len(SEGMENTS)) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.PixelUnshuffle(2), block(12, 32), block(32, 32))
        self.middle = nn.Sequential(block(32, 64, stride=2), block(64, 64))
        self.coarse = nn.Sequential(block(64, 96, stride=2), block(96, 96), block(96, 64))
        self.up_middle = nn.Sequential(block(64 + 64, 64), block(64, 32))
        self.up_fine = nn.Sequential(block(32 + 32, 48), block(48, 48))
        self.head = nn.Sequential(nn.Conv2d(48, 4 * num_maps, 3, padding=1), nn.PixelShuffle(2))
        self.twice = nn.Upsample(scale_factor=2, mode="nearest")

    def maps(self, image: Tensor) -> Tensor:
        """(B, num_maps, 32, 32)."""
        fine = self.fine(image)
        middle = self.middle(fine)
        x = self.up_middle(torch.cat((self.twice(self.coarse(middle)), middle), 1))
        return self.head(self.up_fine(torch.cat((self.twice(x), fine), 1)))

    def forward(self, image: Tensor) -> Dense:
        answer = self.maps(image)
        return Dense(answer[:, 0], answer[:, 1:])


def load_dense_judge(path: Path) -> DenseJudge:
    return trained(DenseJudge(), path)
