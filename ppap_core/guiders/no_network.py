"""Guiders that are no network: what they answer follows from the pixels alone."""

import torch
from torch import nn

from .guider import Guider, GuiderInfo, fingerprint
from .preprocessing import Preprocessing

MIDDLE = (0.5, 0.5, 0.5)  # brings pixels in [0, 1] to [-1, 1]


class NoNetwork(nn.Module):
    """The backbone of such a guider. Its parameter says on which device it is, and no more."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))


def guider_without_network(backbone: type[NoNetwork], source: str, how: str, task: str) -> Guider:
    """It reads pictures in their own size, in [-1, 1]. `how`: in place of an architecture."""
    with torch.inference_mode(False):
        built = backbone()
        prints = fingerprint(built.state_dict())
        info = GuiderInfo(source, how, task, (), prints, is_network=False)
        return Guider(built, Preprocessing((1, 1), MIDDLE, MIDDLE, crop_mode="own"), info)
