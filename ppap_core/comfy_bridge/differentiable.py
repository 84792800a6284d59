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
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from ..out_of_memory import is_out_of_memory


class _OrdinaryConstants(TorchFunctionMode):
    """Gives every operation that autograd records ordinary tensors for its inference tensors.

    Of weights they share the memory, of all else they are copies. Weights in another type, which
    layers make for themselves, are noted in `casts`.
    """

    def __init__(self, weights: "_Weights", casts: "_Casts"):
        super().__init__()
        self._weights, self._casts = weights, casts

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, given = kwargs or {}, args[:2]
        if torch.is_grad_enabled() and any(map(_in_graph, (*args, *kwargs.values()))):
            args = map(self._ordinary, args)
            kwargs = {key: self._ordinary(value) for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        if func in (Tensor.to, Tensor.copy_):
            self._casts.note(result, *given)
        return result

    def _ordinary(self, value: object) -> object:
        if not (isinstance(value, Tensor) and value.is_inference()):
            return value
        is_weight = type(value) in (Tensor, nn.Parameter) and value in self._weights
        return _sharing(value) if is_weight else value.clone()


def _in_graph(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _sharing(tensor: Tensor) -> Tensor:
    """An ordinary tensor in the memory of `tensor`, which may be one of inference mode."""
    place = tensor.storage_offset(), tensor.size(), tensor.stride()
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(
        tensor.untyped_storage(), *place
    )


class _Weights:
    """The memory of a network's weights and buffers, which no evaluation changes."""

    def __init__(self, network: nn.Module | None):
        tensors = [*network.parameters(), *network.buffers()] if network else []
        self._places = set(map(_place, tensors)) - {None}

    def __contains__(self, tensor: Tensor) -> bool:
        return _place(tensor) in self._places


class _Casts:
    """Weights in another type or on another device: they can be made again, and need no memory."""

    def __init__(self, weights: _Weights):
        self._weights = weights
        self._made: dict[int, tuple[StorageWeakRef, int, Tensor]] = {}

    def note(self, result: Tensor, *args: object) -> None:
        """`result` of `to` or `copy_`, with their first arguments."""
        source = next((a for a in reversed(args) if isinstance(a, Tensor)), None)
        is_cast = source is not None and source in self._weights and result not in self._weights
        if is_cast and not result.is_inference() and (place := _place(result)) is not None:
            alive = StorageWeakRef(result.untyped_storage())  # its address is no other's meanwhile
            self._made[place] = alive, result._version, source.detach()

    def recipe(self, saved: Tensor) -> Callable[[], Tensor] | None:
        """Makes `saved` again, if it lies in a cast that nothing has changed."""
        _, version, weight = self._made.get(_place(saved), (None, None, None))
        whole = weight is not None and saved.untyped_storage().nbytes() == (
            weight.numel() * saved.element_size()
        )
        if not whole or saved._version != version or not weight.is_contiguous():
            return None
        dtype, device = saved.dtype, saved.device
        view = saved.size(), saved.stride(), saved.storage_offset()
        return lambda: weight.to(device, dtype).as_strided(*view)


def _place(tensor: Tensor) -> int | None:
    """The same for all tensors in the same memory; None for kinds of tensors that have none."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None


@contextmanager
def differentiable(network: nn.Module | None = None) -> Iterator[None]:
    """Inside, a call of ComfyUI's model can be differentiated in an input that requires it.

    `network`: whose weights stay as they are until the backward pass; they are not copied.
    """
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True  # without fused kernels: they have no backward pass
    weights = _Weights(network)
    casts = _Casts(weights)

    # Other buffers are used again for the next layer, and Flux adds to its tensors in place.
    def keep(saved: Tensor) -> Tensor | Callable[[], Tensor]:
        if saved in weights:
            return saved.detach()
        return casts.recipe(saved) or saved.detach().clone()

    def restore(kept: Tensor | Callable[[], Tensor]) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    keeping = torch.autograd.graph.saved_tensors_hooks(keep, restore)
    ordinary = _OrdinaryConstants(weights, casts)
    try:
        with torch.inference_mode(False), torch.enable_grad(), ordinary, keeping:
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


def _gradient(attention: Callable, tokens: Tensor) -> Tensor | None:
    """Of the answer's square; None where autograd does not reach."""
    try:
        answer = attention(tokens, tokens, tokens, heads=1)
        return torch.autograd.grad(answer.float().square().sum(), tokens)[0].float()
    except Exception as error:  # each implementation has errors of its own
        if is_out_of_memory(error):
            raise
        return None


def with_torch_attention(model_options: dict) -> dict:
    """A copy of `model_options` that selects PyTorch's attention, which has a backward pass.

    MultiGPU's threads have none (`_calc_cond_batch_multigpu`, ComfyUI 0.30.0): one device then.
    """

    def override(attention: Callable, *args, **kwargs) -> Tensor:
        return attention_pytorch(*args, **kwargs)

    transformer = {
        **model_options.get("transformer_options", {}),
        "optimized_attention_override": override,
    }
    options = {**model_options, "transformer_options": transformer}
    options.pop("multigpu_clones", None)
    return options
