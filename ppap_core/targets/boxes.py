"""Boxes and their overlap: left, top, right, bottom, as shares of the picture's sides."""

import torch
from torch import Tensor

SMALLEST = 1e-6  # an area: keeps quotients finite


def to_corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height (..., 4) -> left, top, right, bottom."""
    centre, sides = boxes.split(2, -1)
    return torch.cat((centre - sides / 2, centre + sides / 2), -1)


def to_centres(corners: Tensor) -> Tensor:
    """The inverse of `to_corners`."""
    low, high = corners.split(2, -1)
    return torch.cat(((low + high) / 2, high - low), -1)


def area(corners: Tensor) -> Tensor:
    """(..., 4) -> (...), at least SMALLEST."""
    width, height = (corners[..., 2:] - corners[..., :2]).clamp(min=0).unbind(-1)
    return (width * height).clamp(min=SMALLEST)


def common_area(a: Tensor, b: Tensor) -> Tensor:
    """Of each pair; `a` and `b` broadcast: (..., 4) -> (...)."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    width, height = (high - low).clamp(min=0).unbind(-1)
    return width * height


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, in [0, 1]."""
    common = common_area(a, b)
    return common / (area(a) + area(b) - common)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., 2019), in (-1, 1]: below 0 for boxes that are apart."""
    common = common_area(a, b)
    union = area(a) + area(b) - common
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = area(torch.cat((low, high), -1))
    return common / union - (hull - union) / hull


def box_loss(a: Tensor, b: Tensor) -> Tensor:
    """5 |a - b| + 2 (1 - GIoU), at least 0: the loss of boxes that detectors learn with.

    |a - b| is summed over centre, width and height. Carion et al. (2020), "End-to-end object
    detection with transformers", equation 3 and its appendix; RT-DETR and D-FINE keep the weights.
    """
    apart = (to_centres(a) - to_centres(b)).abs().sum(-1)
    return 5 * apart + 2 * (1 - giou(a, b))
