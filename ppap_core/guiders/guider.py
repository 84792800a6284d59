"""A guider: an off-the-shelf vision model, frozen, with its own preprocessing."""

import copy
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..experts import ExpertSwitch
from ..tasks import Task, get_task
from .preprocessing import Preprocessing
from .words import Words


@dataclass(frozen=True)
class GuiderInfo:
    """Where a guider came from, what it predicts, for which labels, and what its numbers mean.

    `task`: the name of one that is registered (tasks/). `labels`: the names of what the answer has
    a place for each of, none where there are no such. `answer`: one of the task's, by default the
    first. Of classes these are "softmax" (logits of classes that exclude each other), "sigmoid"
    (logits of classes that are each present or absent on their own, as in a tagger) and "score"
    (the predicted values themselves, as of a regression; higher is more). `is_network`: whether
    there is anything that could learn.
    """

    source: str
    architecture: str
    task: str
    labels: tuple[str, ...]
    fingerprint: str
    answer: str = ""
    is_network: bool = True

    def __post_init__(self) -> None:
        known = self.asks.answers
        if not self.answer:
            object.__setattr__(self, "answer", self.asks.usual)
        if self.answer not in known:
            raise ValueError(
                f"the answer of a {self.task} guider is one of {', '.join(known)}, "
                f"got {self.answer!r}"
            )

    @property
    def asks(self) -> Task:
        """What the task's name stands for. ValueError for a name that nobody has registered."""
        return get_task(self.task)

    @property
    def told(self) -> str:
        """What its guidance is called in reports."""
        return self.answer if self.answer in self.asks.tells_answers else self.task

    @property
    def kind(self) -> str:
        """The task, and what the answer's numbers are where that is not the usual."""
        return self.asks.kind(self.answer)


class Guider(nn.Module):
    """A frozen backbone with its own preprocessing; `switch` merges one expert at a time into it.

    Called with images (B, 3, H, W) in [-1, 1], it answers in float32 by its task, in the shape and
    with the meaning that its `Task` says. class: logits or scores (B, K), as `info.answer` says;
    depth: nearness (B, h, w), larger is nearer; segmentation: logits (B, K, h, w); normals: unit
    vectors (B, 3, h, w), x right, y up, z towards the viewer; edges: log-odds (B, 1, h, w); pose:
    heatmaps (B, J, h, w), which cover the picture; boxes: (B, Q, K + 4), the log-odds of classes,
    and centre and sides as shares of the picture; embedding: unit vectors (B, D), which `words`
    gives of texts too, where the model knows any. If `backbone` has `get_classifier()`, as timm's
    models have, training leaves LoRA off that layer.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        info: GuiderInfo,
        words: Words | None = None,
    ):
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.info = info
        self.words = words
        self.switch = ExpertSwitch(self.backbone)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.register_forward_hook(_in_usual_order)

    def forward(self, image: Tensor) -> Tensor:
        return self.answer(self.preprocessing(image), tuple(image.shape[-2:]))

    def answer(self, pixels: Tensor, sides: tuple[int, int]) -> Tensor:
        """To what the preprocessing has made of pictures of `sides` (h, w)."""
        return self.on_picture(self.backbone(pixels).float(), sides)

    def on_picture(self, answer: Tensor, sides: tuple[int, int]) -> Tensor:
        """The backbone's answer as one about the whole picture of `sides` (h, w), and no more."""
        return answer


def own_copy(guider: Guider) -> nn.Module:
    """A copy of the backbone, without experts, on the CPU."""
    guider.switch.restore()
    with torch.inference_mode(False):
        return copy.deepcopy(guider.backbone).cpu()


def _in_usual_order(norm: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
    """Hand a batch norm its gradient in the usual order of memory.

    Of one picture, transposed, PyTorch 2.11 reads it in the wrong one on the CPU, without a word.
    """
    if out.requires_grad and len(out) == 1:
        out.register_hook(Tensor.contiguous)


def fingerprint(weights: dict[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and values of `weights`: the same from any file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def fingerprint_with(of_network: str, use: str, weights: dict[str, Tensor]) -> str:
    """The fingerprint of a network that has one, in another `use`, with more `weights`."""
    network = torch.frombuffer(bytearray.fromhex(of_network), dtype=torch.uint8)
    return fingerprint({f"network {use}": network} | weights)
