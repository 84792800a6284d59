"""The answers that experts learn to give: the plain guider's, or those of labels."""

from pathlib import Path

import torch
from torch import Tensor

from ..guiders import Guider
from ..pixels import bytes_to_image
from ..targets import find_class
from ..tasks import comparisons
from .label_files import read_classes
from .losses import downscale, loss_kind


@torch.no_grad()
def teacher_answers(guider: Guider, images: Tensor, batch_size: int = 64) -> Tensor:
    """What the plain guider answers to each clean image; `images`: (N, 3, H, W) uint8."""
    guider.switch.restore()
    device = next(guider.parameters()).device
    chunks = (bytes_to_image(chunk).to(device) for chunk in images.split(batch_size))
    return torch.cat([downscale(guider(chunk), guider.info.kind).cpu() for chunk in chunks])


def check_labels(guider: Guider) -> None:
    """ValueError unless labels can take the place of the answers of `guider`."""
    if comparisons()[loss_kind(guider.info.kind)].labelled is None:
        raise ValueError(
            f"labels are for classifiers whose classes exclude each other; the guider predicts "
            f"{guider.info.kind}: leave labels out, and its own answers are learned"
        )


def read_labels(path: Path, files: list[str], guider: Guider) -> Tensor:
    """Class indices (N,) of `files` from a file of labels: names or numbers of classes."""
    check_labels(guider)
    classes = read_classes(path, files)
    indices = {name: find_class(name, guider.info.labels) for name in set(classes)}
    return torch.tensor([indices[name] for name in classes])
