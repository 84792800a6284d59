"""Heads that turn an embedding into a score, such as LAION's aesthetic predictors: safetensors."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..atomic import load_safetensors
from ..errors import one_line
from ..no_weights import PICKLES, how_to_convert, what_it_is

AUTO = "auto"
ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class ScoreHead(NamedTuple):
    """`layers`: embeddings (B, `width`) -> scores (B, 1), with the `activation` between them."""

    layers: nn.Sequential
    width: int
    activation: str


def read_score_head(path: Path, activation: str = AUTO) -> ScoreHead:
    """The chain of linear layers in `path`, in the order of the numbers in their names.

    Weights do not tell what lies between layers, so "auto" takes what the file says: the entry
    "activation" of its header, else a name of ACTIVATIONS in its own name
    ("ava+logos-l14-reluMSE"), else none, as in LAION's predictors 1 and 2 and in 2.5 for SigLIP.
    Dropout is left out, since it does nothing after training. ValueError, in one line, for pickles
    and for whatever is no such chain that ends in one number.
    """
    if path.suffix.lower() in PICKLES:
        raise ValueError(
            f"score head {path.name!r} is a pickle, which can run code when it is opened, so this "
            f"pack opens none: {how_to_convert(path, path.with_suffix('.safetensors'))}"
        )
    try:
        header, tensors = load_safetensors(path)
    except SafetensorError as error:
        otherwise = f"is truncated or no safetensors file: {one_line(error)}"
        raise ValueError(f"score head {path.name!r} {what_it_is(path, otherwise)}") from None
    try:
        chosen = _said(path.stem, header) if activation == AUTO else activation
        if chosen not in ACTIVATIONS:
            raise ValueError(f"its activation is one of {', '.join(ACTIVATIONS)}, got {chosen!r}")
        layers = _linear_layers(tensors)
    except ValueError as error:
        raise ValueError(f"score head {path.name!r}: {one_line(error)}") from None
    parts = [part for layer in layers for part in (layer, ACTIVATIONS[chosen]())]
    return ScoreHead(nn.Sequential(*parts[:-1]), layers[0].in_features, chosen)


def _said(name: str, header: Mapping[str, str]) -> str:
    """The activation that a file with this name and header says it has."""
    named = next((known for known in ACTIVATIONS if known in name.lower()), "none")
    return header.get("activation", named).lower()


def _linear_layers(tensors: Mapping[str, Tensor]) -> list[nn.Linear]:
    """ValueError for tensors of anything else, and for layers that do not follow each other."""
    if not tensors:
        raise ValueError("it holds no weights: download it again")
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        found.setdefault(layer, {})[kind] = tensor
    layers = [_linear(name, found[name]) for name in sorted(found, key=_by_numbers)]
    for one, other in pairwise(layers):
        if one.out_features != other.in_features:
            raise ValueError(
                f"a layer gives {one.out_features} numbers and the next one reads "
                f"{other.in_features}: its layers are no chain in the order of their names"
            )
    if layers[-1].out_features != 1:
        raise ValueError(
            f"it answers with {layers[-1].out_features} numbers, and a score is one: choose another"
        )
    return layers


def _by_numbers(name: str) -> list[tuple[bool, int, str]]:
    """A key to sort by, in which layers.10 comes after layers.2."""
    parts = re.findall(r"\d+|\D+", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _linear(name: str, found: Mapping[str, Tensor]) -> nn.Linear:
    """A layer of the tensors `found`. ValueError unless they are those of a linear one."""
    shapes = {kind: tuple(tensor.shape) for kind, tensor in found.items()}
    outputs = shapes.get("weight", ())[:1]
    if len(shapes.get("weight", ())) != 2 or shapes not in (
        {"weight": shapes.get("weight")},
        {"weight": shapes.get("weight"), "bias": outputs},
    ):
        told = ", ".join(f"{kind} {shape}" for kind, shape in shapes.items())
        raise ValueError(
            f"the layer {name or 'without a name'!r} ({told}) is not a linear one, and a head is a "
            f"chain of linear layers: choose another, or a whole model that transformers knows"
        )
    for tensor in found.values():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(f"the layer {name!r} holds numbers that are not finite, or quantised")
    with torch.inference_mode(False):
        layer = nn.Linear(*reversed(shapes["weight"]), bias="bias" in found)
        layer.load_state_dict({kind: tensor.float() for kind, tensor in found.items()})
    return layer
