"""Autograd through ComfyUI's own model, for the jacobian "backprop".

Read in ComfyUI 0.30.0. Its weights and conditionings are inference tensors, which autograd cannot
save, or are in buffers that the next layer overwrites (ops.py, cast_bias_weight). Some of its
attention implementations (SageAttention, --use-ck-attention) have no backward pass and cut the
graph silently.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.ldm.modules.attention as host_attention
import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch.overrides import TorchFunctionMode


class _OrdinaryConstants(TorchFunctionMode):
    """Gives every operation that autograd records ordinary copies of its inference tensors."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_grad_enabled() and any(map(_in_graph, (*args, *kwargs.values()))):
            args = map(_ordinary, args)
            kwargs = {key: _ordinary(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)


def _in_graph(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _ordinary(value: object) -> object:
    is_inference = isinstance(value, torch.Tensor) and value.is_inference()
    return value.clone() if is_inference else value


def _own_copy(kept: torch.Tensor) -> torch.Tensor:
    return kept.detach().clone()


@contextmanager
def differentiable() -> Iterator[None]:
    """Inside, a call of ComfyUI's model can be differentiated in an input that requires it."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True  # without fused kernels: they have no backward pass
    # What autograd saves is copied: buffers are reused, and Flux adds to its tensors in place.
    keeping = torch.autograd.graph.saved_tensors_hooks(_own_copy, lambda kept: kept)
    try:
        with torch.inference_mode(False), torch.enable_grad(), _OrdinaryConstants(), keeping:
            yield
    finally:
        comfy.model_management.in_training = before


def attention_has_backward_pass(model) -> bool:
    """Whether the attention that this host gives `model` (MODEL) lets the right gradient through.

    Told by a small pass, since hosts and packs add implementations under ever new names.
    """
    dtype = getattr(model.model, "get_dtype_inference", lambda: torch.float32)()
    with differentiable():
        tokens = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
        tokens = tokens.to(model.load_device, dtype).requires_grad_(True)
        expected, found = (
            _gradient(attention, tokens)
            for attention in (attention_pytorch, host_attention.optimized_attention)
        )
    return found is not None and torch.allclose(found, expected, rtol=0.1, atol=0.1)


def _gradient(attention: Callable, tokens: torch.Tensor) -> torch.Tensor | None:
    """Of the answer's square; None where autograd does not reach."""
    try:
        answer = attention(tokens, tokens, tokens, heads=1)
        return torch.autograd.grad(answer.float().square().sum(), tokens)[0].float()
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each implementation has errors of its own
        return None


def with_torch_attention(model_options: dict) -> dict:
    """A copy of `model_options` that selects PyTorch's attention, which has a backward pass."""

    def override(attention: Callable, *args, **kwargs) -> torch.Tensor:
        return attention_pytorch(*args, **kwargs)

    transformer = {
        **model_options.get("transformer_options", {}),
        "optimized_attention_override": override,
    }
    return {**model_options, "transformer_options": transformer}
