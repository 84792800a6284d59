"""HED, holistically-nested edge detection: VGG16 with an answer at each of its five sizes.

Xie and Tu (2015), arXiv:1504.06375. Read are the weights of controlnet_aux (ControlNetHED.pth:
colours minus its own `norm`, and the mean of the five answers) and those of pytorch-hed, which are
the authors' (blue, green, red minus VGG's means, and a learned sum of the five answers).
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256, 512, 512)
PLACES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # of torchvision's convolutions
NORM = "norm"  # the tensor that only controlnet_aux's weights have
VGG_MEANS = (104.00698793, 116.66876762, 122.67891434)  # of blue, green, red in 0 to 255


class Hed(nn.Module):
    """Pixels (B, 3, h, w) -> the log-odds of an edge, (B, 1, h, w)."""

    def __init__(self):
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        layers = make_layers(cfgs["D"][:-1])  # VGG16's, without the last pool
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.blocks = nn.ModuleList(layers[a:b] for a, b in pairwise((0, *pools, None)))
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in WIDTHS)
        self.fuse = nn.Conv2d(len(WIDTHS), 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        seen, answers = pixels, []
        for block, side in zip(self.blocks, self.sides, strict=True):
            seen = block(seen)
            answers.append(F.interpolate(side(seen), pixels.shape[-2:], mode="bilinear"))
        return self.fuse(torch.cat(answers, dim=1))


class _Names(NamedTuple):
    """Patterns of layers' names. `n`: of a block, from 1; `i`: of its convolutions, from 0."""

    convolution: str
    side: str
    fuse: str


CONTROLNET = _Names("block{n}.convs.{i}", "block{n}.projection", "")
AUTHORS = _Names("moduleVgg{word}.{place}", "moduleScore{word}", "moduleCombine.0")
WORDS = ("One", "Two", "Thr", "Fou", "Fiv")


def is_hed(weights: dict[str, Tensor]) -> bool:
    """Whether `weights` have names of one of both kinds."""
    layers = {_plain(name).rpartition(".")[0] for name in weights}
    return not layers.isdisjoint((*_our_names(CONTROLNET), *_our_names(AUTHORS)))


def read_hed(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """(weights under the names of `Hed`, what its preprocessing subtracts and in which order).

    Tensors that are of neither kind keep their names.
    """
    weights = {_plain(name): tensor for name, tensor in weights.items()}
    norm = weights.pop(NORM, None)
    names = _our_names(AUTHORS if norm is None else CONTROLNET)
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = tensor
    if norm is None:
        return renamed, subtracting(VGG_MEANS, reverse_channels=True)
    share = torch.full((1, len(WIDTHS), 1, 1), 1 / len(WIDTHS))
    mean = {"fuse.weight": share, "fuse.bias": torch.zeros(1)}
    return renamed | mean, subtracting(norm.flatten().tolist(), reverse_channels=False)


def subtracting(means: list[float] | tuple[float, ...], reverse_channels: bool) -> dict:
    """Settings of a Preprocessing that gives 0 to 255 minus `means`."""
    return {
        "mean": tuple(mean / 255 for mean in means),
        "std": (1 / 255,) * 3,
        "reverse_channels": reverse_channels,
    }


def _plain(name: str) -> str:
    """pytorch-hed's file says "module", its network "net"."""
    return "module" + name.removeprefix("net") if name.startswith("net") else name


def _our_names(names: _Names) -> dict[str, str]:
    """The names of `Hed`'s layers, by those in a file."""
    found = {names.fuse: "fuse"} if names.fuse else {}
    for block, places in enumerate(PLACES):
        which = {"n": block + 1, "word": WORDS[block]}
        found[names.side.format(**which)] = f"sides.{block}"
        for i, place in enumerate(places):
            pooled = block > 0  # a block begins with its pool
            theirs = names.convolution.format(i=i, place=2 * i + pooled, **which)
            found[theirs] = f"blocks.{block}.{place}"
    return found
