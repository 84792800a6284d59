"""A guider: an off-the-shelf vision model, frozen, with its own preprocessing."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..experts import ExpertSwitch
from .preprocessing import Preprocessing

# What the numbers of an answer can be, for each task. The first is what most models answer.
ANSWERS = {
    "class": ("softmax", "sigmoid", "score"),
    "depth": ("nearness",),
    "segmentation": ("softmax",),
}
TASKS = tuple(ANSWERS)


@dataclass(frozen=True)
class GuiderInfo:
    """Where a guider came from, what it predicts, for which labels, and what its numbers mean.

    `task`: one of TASKS. `labels`: the classes' names in the order of the answer's channels, none
    for depth. `answer`: one of ANSWERS[task], by default the first:

    - "softmax": logits of classes that exclude each other.
    - "sigmoid": logits of classes that are each present or absent on their own, as in a tagger.
    - "score": the predicted values themselves, as of a regression; higher is more.
    - "nearness": larger is nearer.
    """

    source: str
    architecture: str
    task: str
    labels: tuple[str, ...]
    fingerprint: str
    answer: str = ""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task is one of {', '.join(TASKS)}, got {self.task!r}")
        known = ANSWERS[self.task]
        if not self.answer:
            object.__setattr__(self, "answer", known[0])
        if self.answer not in known:
            raise ValueError(
                f"the answer of a {self.task} guider is one of {', '.join(known)}, "
                f"got {self.answer!r}"
            )

    @property
    def kind(self) -> str:
        """The task, and what the answer's numbers are where that is not the usual."""
        usual = self.answer == ANSWERS[self.task][0]
        return self.task if usual else f"{self.task}, {self.answer}"


class Guider(nn.Module):
    """A frozen backbone with its own preprocessing; `switch` merges one expert at a time into it.

    Called with images (B, 3, H, W) in [-1, 1], it answers in float32 by its task. class: logits or
    scores (B, K), as `info.answer` says; depth: nearness (B, h, w), larger is nearer; segmentation:
    logits (B, K, h, w). If `backbone` has `get_classifier()`, as timm's models have, training
    leaves LoRA off that layer.
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
    """SHA-256 over the names, types, shapes and values of `weights`: the same from any file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
