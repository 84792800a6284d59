"""A guider: an off-the-shelf vision model that says of a picture what it shows."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..experts import ExpertSwitch
from .preprocessing import Preprocessing

TASKS = ("class", "depth", "segmentation")


@dataclass(frozen=True)
class GuiderInfo:
    """What a guider is: where it came from, what it predicts, and for which labels."""

    source: str
    architecture: str
    task: str
    labels: tuple[str, ...]
    fingerprint: str

    def __post_init__(self):
        if self.task not in TASKS:
            raise ValueError(f"task is one of {', '.join(TASKS)}, got {self.task!r}")


class Guider(nn.Module):
    """A frozen backbone with its own preprocessing.

    `switch` makes one expert at a time part of it.
    Called with images (B, 3, H, W) in [-1, 1]; for the task `class` it answers logits (B, K).
    """

    def __init__(self, backbone: nn.Module, preprocessing: Preprocessing, info: GuiderInfo):
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.info = info
        self.switch = ExpertSwitch(self.backbone)

    def forward(self, image: Tensor) -> Tensor:
        return self.backbone(self.preprocessing(image)).float()


def fingerprint(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of `weights`, whatever file they came in."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
