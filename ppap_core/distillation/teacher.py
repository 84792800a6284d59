"""The answers that experts learn to give: the plain guider's, or those of labels."""

import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..guiders import Guider
from ..pixels import bytes_to_image
from ..targets import find_class
from .losses import downscale


@torch.no_grad()
def teacher_answers(guider: Guider, images: Tensor, batch_size: int = 64) -> Tensor:
    """What the plain guider answers to each clean image; `images`: (N, 3, H, W) uint8."""
    guider.switch.restore()
    device = next(guider.parameters()).device
    chunks = (bytes_to_image(chunk).to(device) for chunk in images.split(batch_size))
    return torch.cat([downscale(guider(chunk)).cpu() for chunk in chunks])


def label_answers(labels: Tensor, num_classes: int) -> Tensor:
    """Class labels (N,) as the answers of a teacher who is certain: for the supervised baseline."""
    return 100.0 * F.one_hot(labels, num_classes)


def check_labels(guider: Guider) -> None:
    """ValueError unless labels can take the place of the answers of `guider`."""
    if guider.info.kind != "class":
        raise ValueError(
            f"labels are for classifiers whose classes exclude each other; the guider predicts "
            f"{guider.info.kind}: leave labels out, and its own answers are learned"
        )


def read_labels(path: Path, files: list[str], guider: Guider) -> Tensor:
    """Class indices (N,) of `files` from a CSV "file,class", classes by name or number."""
    check_labels(guider)
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row[0].strip(): row[1] for row in csv.reader(file) if len(row) >= 2}
    if missing := [name for name in files if name not in rows]:
        raise ValueError(
            f"{path} has no label for {len(missing)} pictures, the first is {missing[0]}: one line "
            f"per picture, file,class"
        )
    return torch.tensor([find_class(rows[name], guider.info.labels) for name in files])
