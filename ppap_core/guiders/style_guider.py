"""An embedding model that answers with the statistics of its tokens, which tell a style."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..tasks import STYLE
from .embedding_guider import EmbeddingModel, copy_network
from .guider import Guider, fingerprint_with
from .trial import check_by_trial

LAYERS = (0.25, 0.5, 0.75)  # of the network's depth: before content takes over
LEAST = 1e-6  # variance


class StyleModel(nn.Module):
    """Pixels (B, 3, h, w) -> means of all channels of tokens, then their deviations: (B, 2 C).

    Those of AdaIN (Huang and Belongie, 2017, arXiv:1703.06868, section 5), at LAYERS; where a token
    stands has no part in them. Its parts have the names of an EmbeddingModel, so that experts of
    one fit.
    """

    def __init__(self, model: EmbeddingModel):
        super().__init__()
        self.vision, self.projection, self.head = model.vision, model.projection, model.head

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.vision(pixel_values=pixels, output_hidden_states=True, return_dict=True)
        states = answer.hidden_states[1:]
        chosen = [_channels_last(states[int(at * len(states))]) for at in LAYERS]
        means = [tokens.mean(1) for tokens in chosen]
        deviations = [(tokens.var(1, correction=0) + LEAST).sqrt() for tokens in chosen]
        return torch.cat((*means, *deviations), 1)


def _channels_last(tokens: Tensor) -> Tensor:
    """(B, N, C), or a map (B, C, h, w) -> (B, N, C), in float32."""
    return (tokens if tokens.ndim == 3 else tokens.flatten(2).mT).float()


def style_guider(guider: Guider) -> Guider:
    """A guider of style that has a copy of `guider`'s network. ValueError for no EmbeddingModel."""
    with torch.inference_mode(False):
        network = StyleModel(copy_network(guider, "a style"))
    own = fingerprint_with(guider.info.fingerprint, STYLE.name, {})
    info = replace(guider.info, task=STYLE.name, answer=STYLE.usual, fingerprint=own)
    styled = Guider(network, guider.preprocessing, info)
    check_by_trial(styled, guider.info.source)
    return styled
