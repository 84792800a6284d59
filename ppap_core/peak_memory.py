"""How much memory a pass and its backward pass take at most, told without running them."""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(NamedTuple):
    """`num_bytes`: the most at any moment, without the weights. `shape`: of the answer."""

    num_bytes: int
    shape: torch.Size


class Tally(TorchDispatchMode):
    """Counts the memory of the tensors that operations make, as long as they live.

    `known`: tensors whose memory does not count.
    """

    def __init__(self, known: Iterable[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self._counted = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._counted:
            return
        self._counted.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, address: int, num_bytes: int) -> None:
        self._counted.discard(address)
        self.now -= num_bytes


def peak_of(
    module: nn.Module,
    call: Callable[[nn.Module, Tensor], Tensor],
    shape: Sequence[int],
    device: str = "cpu",
    shared: Iterable[object] = (),
) -> Peak:
    """Of `call(module, x)` for an `x` of `shape` in float32, and of its gradient in `x`.

    Nothing is computed: a copy of `module` has tensors without memory, as `device` has them; what
    is `shared` among its attributes is not copied.
    Errors of all kinds, from code that looks at its numbers.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.inference_mode(False), torch.enable_grad():
        with FakeTensorMode(allow_non_fake_inputs=True):
            empty = _empty_copy(module, device, shared)
            x = torch.empty(tuple(shape), device=device, requires_grad=True)
            with Tally([*empty.parameters(), *empty.buffers(), x]) as tally:
                answer = call(empty, x)
                torch.autograd.grad(answer, x, torch.ones_like(answer))
    return Peak(tally.most, answer.shape)


def _empty_copy(module: nn.Module, device: str, shared: Iterable[object]) -> nn.Module:
    """Of `module`, with tensors without memory (inside a FakeTensorMode)."""
    memo = {
        id(tensor): torch.empty_strided(
            tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device
        )
        for tensor in _tensors_of(module)
    }
    kept = [*shared, *_owners_of_resources(module)]
    return copy.deepcopy(module, memo | {id(value): value for value in kept})


def _tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers, and tensors that are plain attributes."""
    attributes = [value for part in module.modules() for value in vars(part).values()]
    plain = [value for value in attributes if isinstance(value, Tensor)]
    return [*module.parameters(), *module.buffers(), *plain]


def _owners_of_resources(module: nn.Module) -> Iterator[object]:
    """Attributes that free something when they go: a copy would free it a second time."""
    for part in module.modules():
        for value in vars(part).values():
            members = value.values() if isinstance(value, dict) else value
            for one in (value, *(members if isinstance(value, dict | list | tuple) else ())):
                if hasattr(type(one), "__del__"):
                    yield one
