"""The guider that is no network: it answers with the picture, for targets that compare it."""

import torch
from torch import Tensor, nn

from .guider import Guider, GuiderInfo, fingerprint
from .preprocessing import Preprocessing

SOURCE = "Target Likeness"
MIDDLE = (0.5, 0.5, 0.5)  # brings pixels in [0, 1] to [-1, 1]


class PictureItself(nn.Module):
    """Pixels (B, 3, h, w), as they are. The parameter says on which device it is, and no more."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


def picture_itself(compared_by: str) -> Guider:
    """A guider whose answer is the picture in its own size. `compared_by`: for reports."""
    with torch.inference_mode(False):
        backbone = PictureItself()
        prints = fingerprint(backbone.state_dict())
        info = GuiderInfo(SOURCE, compared_by, "likeness", (), prints)
        return Guider(backbone, Preprocessing((1, 1), MIDDLE, MIDDLE, crop_mode="own"), info)
