"""Passes of a network that can be left in the middle, forwards and backwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Ask = Callable[[], None]


@contextmanager
def interruptible(modules: Iterable[nn.Module | None], ask: Ask) -> Iterator[None]:
    """Inside, `ask` is called before each layer of `modules` computes, and before autograd goes
    back through it. What it raises ends the pass, in the backward pass as well.

    Values and gradients stay as they are; at the end no layer keeps a hook. (torch raises to the
    caller what a hook of the backward pass raises in autograd's own thread, where a GPU's runs.)
    """

    def before(module: nn.Module, args: Any) -> None:
        if not torch.compiler.is_compiling():
            ask()

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            for node in {tensor.grad_fn for tensor in _tensors(output)} - {None}:
                node.register_prehook(lambda gradients: ask())

    layers = {layer: None for module in modules if module is not None for layer in _layers(module)}
    hooks = []
    try:
        for layer in layers:
            hooks.append(layer.register_forward_pre_hook(before))
            hooks.append(layer.register_forward_hook(after))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """`module` and all below it, except where torch computes otherwise if there are hooks."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return
    yield module
    for child in module.children():
        yield from _layers(child)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(tuple(output.values()))
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)
