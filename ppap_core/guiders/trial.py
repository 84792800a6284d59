"""One trial pass of a guider that was just loaded: does it answer what its task promises?"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import one_line
from ..tasks import CLASSES, Task
from .guider import Guider
from .preprocessing import Preprocessing

HEIGHT, WIDTH = 96, 128  # not square, so that swapped sides are noticed
# Crop modes of networks that read pictures of any size.
ANY_SIZE = ("shortest", "fit", "inside", "bounded")
SMALL = 112  # the side that such a network is tried at, about


def check_by_trial(guider: Guider, name: str) -> None:
    """Ask `guider` about one small picture. ValueError, in one line, for an answer that is wrong.

    Checked are that it can read a picture, the shape of the answer, that its numbers are finite and
    have not been through a softmax, and that a gradient comes through.
    """
    answer = _answer(guider, name)
    if fault := _fault(guider, answer):
        raise ValueError(f"guider {name!r} {fault}: choose another model")


def _answer(guider: Guider, name: str) -> Tensor:
    """About a small input, or, if the network refuses that, about one of its usual size."""
    usual = guider.preprocessing
    for preprocessing in dict.fromkeys((_smaller(usual), usual)):
        try:
            with torch.inference_mode(False), torch.enable_grad():
                pixels = preprocessing(_picture().requires_grad_(True))
                return guider.backbone(pixels).float()
        except Exception as error:  # any library's, for any reason
            last = error
    raise ValueError(
        f"guider {name!r} cannot read a picture: {one_line(last)}; look whether the folder's files "
        f"belong together, or choose another model"
    ) from last


def _smaller(preprocessing: Preprocessing) -> Preprocessing:
    """One that costs less to try, where the network reads pictures of any size."""
    if preprocessing.crop_mode not in ANY_SIZE or min(preprocessing.size) <= SMALL:
        return preprocessing
    side = math.ceil(SMALL / preprocessing.multiple) * preprocessing.multiple
    return replace(preprocessing, size=(side, side), resize_to=None)


def _fault(guider: Guider, answer: Tensor) -> str:
    """What is wrong with `answer`; "" if nothing is."""
    info, shape = guider.info, tuple(answer.shape)
    axes = info.asks.axes(len(info.labels))
    if len(shape) != len(axes) or any(
        isinstance(want, int) and have != want for have, want in zip(shape, axes, strict=True)
    ):
        expected = str(axes).replace("'", "")
        return f"answers {shape} about one picture; {info.task} guiders answer {expected}"
    if not answer.isfinite().all():
        return "answers with numbers that are not finite"
    if info.answer == "softmax" and len(info.labels) > 1 and _are_shares(answer, info.asks):
        return "answers with probabilities; this pack needs the logits before them"
    return "" if answer.requires_grad else "answers without a gradient, so it cannot guide"


def _are_shares(answer: Tensor, task: Task) -> bool:
    """Whether its numbers are at least 0, and 1 together over the classes."""
    if not task.knows_classes:
        return False
    sums = answer.sum(dim=1 + task.shape.index(CLASSES))
    return bool((answer >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def _picture() -> Tensor:
    """(1, 3, HEIGHT, WIDTH) in [-1, 1]: waves of three colours."""
    rows, columns = (torch.linspace(0, 6, side) for side in (HEIGHT, WIDTH))
    waves = [torch.sin(rows[:, None] * k + columns * (3 - k)) for k in range(3)]
    return torch.stack(waves)[None]
