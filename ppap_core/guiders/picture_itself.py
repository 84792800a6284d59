"""The guider that is no network: it answers with the picture, for targets that compare it."""

from torch import Tensor

from .guider import Guider
from .no_network import NoNetwork, guider_without_network

SOURCE = "Target Likeness"


class PictureItself(NoNetwork):
    """Pixels (B, 3, h, w), as they are."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


def picture_itself(compared_by: str) -> Guider:
    """A guider whose answer is the picture in its own size. `compared_by`: for reports."""
    return guider_without_network(PictureItself, SOURCE, compared_by, "likeness")
