"""Autograd through the host's own model, for the Jacobian "backprop".

Read in ComfyUI 0.30.0. Its weights and conditionings are inference tensors, which autograd cannot
keep, or lie in buffers that the next layer overwrites (ops.py, cast_bias_weight); some of its
attention back ends (Sage) drop the graph without a word.
"""

from contextlib import contextmanager

import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch.overrides import TorchFunctionMode


class _OwnConstants(TorchFunctionMode):
    """Hands copies of its constants to every operation that autograd records."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_grad_enabled() and any(map(_is_in_graph, (*args, *kwargs.values()))):
            keep = 1 if _changes_its_first(func) else 0
            args = (*args[:keep], *map(_own, args[keep:]))
            kwargs = {k: v if k == "out" else _own(v) for k, v in kwargs.items()}
        return func(*args, **kwargs)


def _is_in_graph(value) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _own(value):
    is_constant = isinstance(value, torch.Tensor) and not value.requires_grad
    return value.clone() if is_constant and value.is_floating_point() else value


def _changes_its_first(func) -> bool:
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or name[2] == "i" and name != "__invert__"
    return name.endswith("_")


@contextmanager
def differentiable():
    """Inside, a call of the host's model whose input requires a gradient can be differentiated.

    RuntimeErrors of autograd become a ValueError that says what to choose instead.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), _OwnConstants():
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"this model cannot be differentiated ({first}): set jacobian to jvp"
        ) from error


def with_torch_attention(model_options: dict) -> dict:
    """A copy of `model_options` under which attention is torch's own, which has a backward pass."""

    def override(attention, *args, **kwargs):
        return attention_pytorch(*args, **kwargs)

    transformer = {
        **model_options.get("transformer_options", {}),
        "optimized_attention_override": override,
    }
    return {**model_options, "transformer_options": transformer}
