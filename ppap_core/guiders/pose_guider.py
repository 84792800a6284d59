"""Pose models that read the box around one person: heatmaps of the whole picture in its place."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .guider import Guider
from .labels import numbered
from .preprocessing import Preprocessing

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers import PretrainedConfig

PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO = ("nose", *(f"{side} {part}" for part in PAIRS for side in ("left", "right")))
UNNAMED = re.compile(r"label \d+|\d+")  # transformers' names of what has none


class PoseGuider(Guider):
    """A Guider whose backbone reads the picture inside black borders ("border" of Preprocessing).

    Its answer has no borders: it covers the picture, and its pixels stand for their centres.
    """

    def on_picture(self, answer: Tensor, sides: tuple[int, int]) -> Tensor:
        """Heatmaps (B, J, h, w), of which the borders are left out."""
        rows, columns = (_picture_part(answer, self.preprocessing, sides, axis) for axis in (0, 1))
        return rows @ answer @ columns.T


def _picture_part(
    heatmaps: Tensor, reads: Preprocessing, sides: tuple[int, int], axis: int
) -> Tensor:
    """The matrix (new, old) that takes heatmaps along one axis to pixels of the picture alone.

    The outermost pixels of these models' heatmaps lie on those of their input: "unbiased data
    processing" of Huang et al. (2020), as in ViTPose and Sapiens2.
    """
    old, full, inner = heatmaps.shape[2 + axis], reads.size[axis], reads.resized(sides)[axis]
    new = max(1, round(old * inner / full))
    centre = (torch.arange(new) + 0.5) / new * inner + (full - inner) // 2 - 0.5  # in the input
    place = (centre * (old - 1) / (full - 1)).clamp(0, old - 1)
    weights = 1 - (place[:, None] - torch.arange(old)).abs()  # linear interpolation
    return weights.clamp(min=0).to(heatmaps)


def joint_names(config: "PretrainedConfig") -> tuple[str, ...]:
    """The joints' names, such as "left knee"; COCO's where 17 have none."""
    num = config.num_labels
    names = tuple(map(_plain, numbered(config.id2label, num)))
    unnamed = all(map(UNNAMED.fullmatch, names))
    return COCO if unnamed and num == len(COCO) else names


def _plain(name: str) -> str:
    """ "L_Knee" and "left_knee" -> "left knee"."""
    words = re.sub(r"[_\s]+", " ", name).lower().split()
    return " ".join({"l": "left", "r": "right"}.get(word, word) for word in words)


def needs_data_set(config: dict, folder: Path) -> bool:
    """Whether it is a ViTPose+, which has to be told the data set whose layers are used."""
    return (config.get("backbone_config") or {}).get("num_experts", 1) > 1
