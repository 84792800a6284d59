"""Classes in a user's own words: a CLIP or SigLIP that answers which of some names fits."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from ..tasks import CLASS
from .embedding_guider import copy_network
from .guider import Guider, GuiderInfo, fingerprint_with
from .trial import check_by_trial
from .words import Words

PLACE = "{}"  # where a template has the name
TEMPLATE = f"This is a photo of {PLACE}."  # of transformers' zero-shot pipelines


def name_classes(guider: Guider, names: str, template: str = TEMPLATE) -> tuple[Guider, list[str]]:
    """A guider whose classes are the lines of `names`, and notes about names that were cut.

    Each name, in its place in `template`, becomes a row of a linear layer on the embedding, so the
    logits are those of the model itself: a softmax over all names by CLIP, a yes or no to each by
    SigLIP. It has a copy of the network, under the same names, so that experts of `guider` fit it
    too. ValueError, in one line, for a guider that reads no words, names that are missing or given
    twice, a single one for CLIP, and a template without a place.
    """
    if guider.words is None:
        raise ValueError(
            f"{guider.info.source} ({guider.info.architecture}) cannot read words: connect a CLIP "
            f"or SigLIP"
        )
    labels = _read_names(names, guider.words)
    if PLACE not in template:
        raise ValueError(
            f"the widget template has no {PLACE}, which stands for the name: write it, such as "
            f"{TEMPLATE!r}"
        )
    network = copy_network(guider, "classes in words")
    read = guider.words.read([template.replace(PLACE, label) for label in labels])
    with torch.inference_mode(False):
        network.head = _layer(read.embeddings, guider.words)
    named = Guider(network, guider.preprocessing, _info(guider, labels, network.head))
    check_by_trial(named, guider.info.source)
    return named, [f'too long, so only this is read: "{kept}"' for kept in read.cut.values()]


def _read_names(text: str, words: Words) -> tuple[str, ...]:
    names = tuple(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    least = 2 if words.bias is None else 1
    if len(names) < least:
        raise ValueError(
            f"the widget names has {len(names)} of at least {least} lines: write a class per line"
            + ", and what else the picture could show, since CLIP compares" * (least > 1)
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the widget names has {twice[0]!r} twice: delete one of both lines")
    return names


def _layer(embeddings: torch.Tensor, words: Words) -> nn.Linear:
    """Unit vectors of texts (K, D) -> the layer (D to K) of the model's logits."""
    num, width = embeddings.shape
    layer = nn.Linear(width, num, bias=words.bias is not None)
    layer.weight.data.copy_(words.scale * embeddings)
    if words.bias is not None:
        layer.bias.data.fill_(words.bias)
    return layer


def _info(guider: Guider, labels: Sequence[str], layer: nn.Linear) -> GuiderInfo:
    own = fingerprint_with(guider.info.fingerprint, "\n".join(labels), layer.state_dict())
    answer = "softmax" if layer.bias is None else "sigmoid"
    return replace(guider.info, task=CLASS.name, labels=labels, fingerprint=own, answer=answer)
