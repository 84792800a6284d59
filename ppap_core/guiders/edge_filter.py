"""The edge detector that is no network: slopes of brightness, as Canny's, with a soft threshold."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .guider import Guider
from .no_network import NoNetwork, guider_without_network
from .preprocessing import LUMA

NAME = "edge filter (Canny, no network)"
LOW, HIGH = 0.15, 0.3  # of Canny, for brightness in [0, 1]: a step of 0.14 is as likely as not
STEEPNESS = 4.0  # of the odds: (slope / threshold) ** STEEPNESS, 1 : 4 at LOW and 4 : 1 at HIGH
LEAST = 0.05  # a slope that is added, so that a flat region has a gradient and finite odds
SIGMA, RADIUS = 1.0, 2  # of Canny's blur, in pixels
MOST_PIXELS = 512  # of the shorter side: larger pictures are read at this size


class EdgeFilter(NoNetwork):
    """Pixels (B, 3, h, w) in [-1, 1] -> the log-odds of an edge, (B, 1, h, w).

    Canny (1986) without the thinning of lines, which has no gradient: a Gaussian blur, Sobel's
    slopes, and odds that rise with the slope in place of two thresholds.
    """

    def forward(self, pixels: Tensor) -> Tensor:
        grey = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True) / 2
        slopes = F.conv2d(_padded(_blurred(_no_larger(grey)), 1), _sobel(grey))
        squared = slopes.square().sum(1, keepdim=True) + LEAST**2
        return STEEPNESS / 2 * (squared / (LOW * HIGH)).log()


def edge_filter() -> Guider:
    """A guider whose answer is in the picture's own size, up to MOST_PIXELS."""
    return guider_without_network(EdgeFilter, NAME, "blur and Sobel", "edges")


def _no_larger(grey: Tensor) -> Tensor:
    shorter = min(grey.shape[-2:])
    if shorter <= MOST_PIXELS:
        return grey
    size = [round(side * MOST_PIXELS / shorter) for side in grey.shape[-2:]]
    return F.interpolate(grey, size, mode="bilinear", antialias=True)


def _blurred(grey: Tensor) -> Tensor:
    place = torch.arange(-RADIUS, RADIUS + 1, device=grey.device, dtype=grey.dtype)
    bell = (-place.square() / (2 * SIGMA**2)).exp()
    bell = bell / bell.sum()
    return F.conv2d(_padded(grey, RADIUS), (bell[:, None] * bell)[None, None])


def _padded(grey: Tensor, width: int) -> Tensor:
    """The border repeated, which is no edge."""
    return F.pad(grey, (width,) * 4, mode="replicate")


def _sobel(like: Tensor) -> Tensor:
    across = like.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.stack((across, across.T))[:, None]
