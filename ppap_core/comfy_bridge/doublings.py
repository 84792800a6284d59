"""Decoders without some of their doublings of the size: the same layers, smaller pictures.

Read in ComfyUI 0.30.0: the decoders of AutoencoderKL, TAESD, TAEHV, Wan and Flux 2 enlarge by
`torch.nn.functional.interpolate`, each side by two, and convolve what comes of it. That call is
what counts, not their classes: decoders of other packs that do the same are known too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

NEAREST = ("nearest", "nearest-exact")
Doubling = tuple[Tensor, tuple[float, ...], str]  # what is doubled, factors, mode


class _AtDoublings(TorchFunctionMode):
    """`act` of each doubling takes its place."""

    def __init__(self, act: Callable[[Tensor, tuple[float, ...], str], Tensor]):
        super().__init__()
        self._act = act

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is F.interpolate and (doubling := _as_doubling(*args, **(kwargs or {}))):
            return self._act(*doubling)
        return func(*args, **(kwargs or {}))


def _as_doubling(
    input: Tensor, size=None, scale_factor=None, mode: str = "nearest", *_, **__
) -> Doubling | None:
    """Of a call of `interpolate` that doubles both sides; None of others."""
    factors = scale_factor
    if isinstance(factors, int | float):
        factors = (factors,) * (input.ndim - 2)
    if size is not None or tuple(factors)[-2:] != (2, 2) or mode not in NEAREST:
        return None
    return input, tuple(factors), mode


def doublings_of(network: nn.Module, run: Callable[[], object]) -> list[str]:
    """Names of the modules of `network` that double the size in `run`, in their order."""
    names = {module: name for name, module in network.named_modules()}
    inside: list[str] = []
    found: dict[str, None] = {}

    def note(image: Tensor, factors: tuple[float, ...], mode: str) -> Tensor:
        found[inside[-1]] = None
        return F.interpolate(image, scale_factor=factors, mode=mode)

    with ExitStack() as hooks:
        for module in names:
            hooks.enter_context(_around(module, lambda m: inside.append(names[m]), inside.pop))
        with _AtDoublings(note):
            run()
    return list(found)


@contextmanager
def without_doublings(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, `modules` leave the size of pictures as it is; frames of a video still double."""
    inside: list[nn.Module] = []

    def act(image: Tensor, factors: tuple[float, ...], mode: str) -> Tensor:
        if inside:
            factors = (*factors[:-2], 1, 1)
        is_same = set(factors) == {1}
        return image if is_same else F.interpolate(image, scale_factor=factors, mode=mode)

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(_around(module, inside.append, inside.pop))
        with _AtDoublings(act):
            yield


@contextmanager
def _around(
    module: nn.Module, enter: Callable[[nn.Module], object], leave: Callable[[], object]
) -> Iterator[None]:
    """`enter` and `leave` around every call of `module`."""
    handles = [
        module.register_forward_pre_hook(lambda m, _: _nothing(enter(m))),
        module.register_forward_hook(lambda m, _, answer: _nothing(leave())),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nothing(_: object) -> None:
    """A hook that answers changes what the module gets or gives."""
