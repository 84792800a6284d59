"""How much memory a forward pass keeps for the backward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def activation_bytes(module: nn.Module, shape: Sequence[int]) -> int:
    """Bytes that autograd keeps when `module`, its weights frozen, reads an input of `shape`.

    Measured by one forward pass on the module's device; weights do not count. (Fake tensors would
    save that pass, but some networks cache what they compute, and would cache the fake tensors.)
    """
    tensors = [*module.parameters(), *module.buffers()]
    weights = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    sizes: dict[int, int] = {}
    alive = []  # otherwise another tensor could get the address of a storage that was freed

    def note(tensor: Tensor) -> None:
        """Returns nothing for autograd to keep: a kept output would keep its own graph alive."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)

    with torch.inference_mode(False), torch.enable_grad():
        with saved_tensors_hooks(note, lambda _: None):
            answer = module(torch.zeros(tuple(shape), device=tensors[0].device, requires_grad=True))
    return sum(sizes.values()) if answer.requires_grad else 0
