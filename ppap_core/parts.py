"""A network's answer to many pictures, part by part, so that memory does not grow with them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(network: Callable[[Tensor], Tensor], pictures: Tensor, at_once: int) -> Tensor:
    """`network` of `pictures` (B, ...), `at_once` of them in one pass: (B, ...).

    With autograd, parts keep no activations: the backward pass runs each of them again.
    """
    if at_once >= len(pictures):
        return network(pictures)
    if torch.is_grad_enabled():
        network = partial(checkpoint, network, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([network(part) for part in pictures.split(at_once)])
