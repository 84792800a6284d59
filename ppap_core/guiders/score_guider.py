"""An embedding model with a head: its guider answers with a score."""

from dataclasses import replace
from pathlib import Path

import torch

from ..tasks import CLASS
from .embedding_guider import copy_network
from .guider import Guider, GuiderInfo, fingerprint_with
from .score_head import AUTO, ScoreHead, read_score_head
from .trial import check_by_trial


def add_score_head(guider: Guider, path: Path, activation: str = AUTO) -> Guider:
    """A guider that answers with the score that the head in `path` gives `guider`'s embedding.

    Its answer is a "score" of the task class, as that of a regression. It has a copy of the
    network, under the same names, so that experts of `guider` fit it too. ValueError, in one line,
    if the head cannot be read (score_head.py) or was made for embeddings of another size.
    """
    head = read_score_head(path, activation)
    network = copy_network(guider, "a score head")
    width = _width(guider)
    if width != head.width:
        raise ValueError(
            f"the score head {path.name!r} reads embeddings of {head.width} numbers, but "
            f"{guider.info.source} gives {width}: connect the model that the head was trained on"
        )
    network.head = head.layers
    scored = Guider(network, guider.preprocessing, _info(guider, head, path))
    check_by_trial(scored, path.name)
    return scored


@torch.no_grad()
def _width(guider: Guider) -> int:
    """How many numbers the guider's embedding has."""
    at = next(guider.parameters()).device
    return guider(torch.zeros(1, 3, *guider.preprocessing.size, device=at)).shape[1]


def _info(guider: Guider, head: ScoreHead, path: Path) -> GuiderInfo:
    weights = head.layers.state_dict()
    return replace(
        guider.info,
        source=f"{guider.info.source} with {path.name}",
        task=CLASS.name,
        labels=(path.stem,),
        fingerprint=fingerprint_with(guider.info.fingerprint, head.activation, weights),
        answer="score",
    )
