"""How much memory a forward pass keeps for the backward pass, without running it."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks


def activation_bytes(
    module: nn.Module,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    view: Callable[[Tensor], Tensor] = lambda x: x,
) -> int:
    """Bytes that autograd keeps when `module`, its weights frozen, reads `view` of a `shape`.

    Shapes are followed, nothing is computed: a fraction of a second for any network. Weights, which
    are kept anyway, do not count. Raises what the module raises for such an input.
    """
    sizes: dict[int, int] = {}
    alive = []  # a storage that is freed would hand its address on

    def note(tensor: Tensor) -> Tensor:
        if tensor.requires_grad or tensor.grad_fn is not None:
            storage = tensor.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return tensor

    # A copy with the same weights: some networks (LeViT) keep what a pass has computed.
    weights = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    copied = copy.deepcopy(module, weights)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.inference_mode(False), torch.enable_grad(), fake:
        with saved_tensors_hooks(note, lambda kept: kept):
            copied(view(torch.zeros(tuple(shape), device=device, requires_grad=True)))
    return sum(sizes.values())
