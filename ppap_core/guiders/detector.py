"""What transformers' detectors (DETR, RT-DETR, D-FINE, YOLOS and others) answer, as ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers.utils import ModelOutput

# Of whose classes the last is "no object", in a softmax; the others' classes have sigmoids.
SOFTMAX = ("detr", "table-transformer", "yolos")


class WholeGradient(TorchFunctionMode):
    """Inside it gradients are those of what is answered: `detach` does nothing.

    RT-DETR and others cut gradients between the steps that refine boxes, for the sake of their own
    training, and what is left hardly says how to change the picture.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        if func is Tensor.detach:
            return args[0]
        return func(*args, **(kwargs or {}))


def has_no_object(config: dict, folder: Path) -> bool:
    """Whether the last of the classes is "no object"."""
    return config["model_type"] in SOFTMAX


def read_detections(answer: "ModelOutput", has_no_object: bool) -> Tensor:
    """(B, Q, K + 4): the log-odds of each class, and the box: centre and sides in [0, 1]."""
    if "pred_boxes" not in answer:
        raise ValueError(f"it finds no boxes, but {', '.join(answer)}: choose a DETR or the like")
    logits = answer.logits
    log_odds = softmax_log_odds(logits)[..., :-1] if has_no_object else logits
    return torch.cat((log_odds, answer.pred_boxes), 2)


def softmax_log_odds(logits: Tensor) -> Tensor:
    """log(p / (1 - p)) of each p in the softmax over the last axis.

    1 - p of the likeliest is the sum of all others: exact where p is nearly 1.
    """
    log_p = logits.log_softmax(-1)
    is_first = torch.zeros_like(logits, dtype=torch.bool)
    is_first.scatter_(-1, logits.argmax(-1, keepdim=True), True)
    rest = log_p.masked_fill(is_first, -torch.inf).logsumexp(-1, keepdim=True)
    others = torch.log1p(-log_p.exp().masked_fill(is_first, 0.0))
    return log_p - torch.where(is_first, rest, others)
