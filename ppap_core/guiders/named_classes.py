"""Classes in a user's own words: of a CLIP or SigLIP which fits, of an OWLv2 where it is."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..tasks import CLASS
from .embedding_guider import copy_network
from .guider import Guider, fingerprint_with, own_copy
from .open_detector import OpenDetector, OpenGuider
from .trial import check_by_trial
from .words import Words

PLACE = "{}"  # where a template has the name
TEMPLATE = f"This is a photo of {PLACE}."  # of transformers' zero-shot pipelines


def name_classes(guider: Guider, names: str, template: str = TEMPLATE) -> tuple[Guider, list[str]]:
    """A guider whose classes are the lines of `names`, and notes about names that were cut.

    Each name, in its place in `template`, becomes a row of a linear layer on the embedding, so the
    logits are those of the model itself: a softmax over all names by CLIP, a yes or no to each by
    SigLIP. An OWLv2 finds boxes of the names. The guider has a copy of the network, under the same
    names, so that experts of a CLIP or SigLIP fit it too. ValueError, in one line, for a guider
    that reads no words, names that are missing or given twice, a single one for CLIP, and a
    template without a place.
    """
    if guider.words is None:
        raise ValueError(
            f"{guider.info.source} ({guider.info.architecture}) cannot read words: connect a CLIP, "
            f"SigLIP or OWLv2"
        )
    labels = _read_names(names, guider.words)
    if PLACE not in template:
        raise ValueError(
            f"the widget template has no {PLACE}, which stands for the name: write it, such as "
            f"{TEMPLATE!r}"
        )
    read = guider.words.read([template.replace(PLACE, label) for label in labels])
    named = _named(guider, labels, read.embeddings)
    check_by_trial(named, guider.info.source)
    return named, [f'too long, so only this is read: "{kept}"' for kept in read.cut.values()]


def _named(guider: Guider, labels: tuple[str, ...], texts: Tensor) -> Guider:
    """`texts`: unit vectors (K, D)."""
    own = fingerprint_with(guider.info.fingerprint, "\n".join(labels), {"texts": texts})
    info = replace(guider.info, labels=labels, fingerprint=own)
    if isinstance(guider.backbone, OpenDetector):
        network = own_copy(guider)
        network.queries = texts
        return OpenGuider(network, guider.preprocessing, info)
    network, layer = copy_network(guider, "classes in words"), _layer(texts, guider.words)
    network.head = layer
    answer = "softmax" if layer.bias is None else "sigmoid"
    info = replace(info, task=CLASS.name, answer=answer)
    return Guider(network, guider.preprocessing, info)


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


@torch.inference_mode(False)
def _layer(texts: Tensor, words: Words) -> nn.Linear:
    """Unit vectors of texts (K, D) -> the layer (D to K) of the model's logits."""
    num, width = texts.shape
    layer = nn.Linear(width, num, bias=words.bias is not None)
    layer.weight.data.copy_(words.scale * texts)
    if words.bias is not None:
        layer.bias.data.fill_(words.bias)
    return layer
