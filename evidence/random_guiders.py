"""Classifiers of random weights and of a size that people use, for measurements of time."""

from collections.abc import Callable

import timm
import torch
from torch import Tensor

from ppap_core.guiders import Guider, GuiderInfo, Preprocessing

IMAGENET = Preprocessing((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def random_guider(name: str) -> Guider:
    """A network of timm's, for 1000 classes, that reads pictures of 224 x 224."""
    labels = tuple(map(str, range(1000)))
    info = GuiderInfo(f"timm/{name}", name, "class", labels, "random")
    return Guider(timm.create_model(name), IMAGENET, info)


def guider_passes(guider: Guider, target, image: Tensor, num: int) -> Callable[[], None]:
    """What guidance does with a guider in `num` steps: the gradient of the log-likelihood."""

    def passes() -> None:
        for _ in range(num):
            x = image.clone().requires_grad_(True)
            torch.autograd.grad(target.log_likelihood(guider(x)).sum(), x)

    return passes
