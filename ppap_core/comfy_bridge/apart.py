"""Evaluations of a model apart from its sampling: no wrapper or cache answers or remembers them.

Read in ComfyUI 0.30.0 (patcher_extension.py, samplers.py, nodes_easycache.py). Why it is done so is
told in docs/decisions/0011-evaluations-apart.md.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..jacobian import StaleEstimate
from .rewind import Remembered

KEY = "ppap"
FIRST, LAST = "ppap first", "ppap last"  # in a dict of wrappers the last one is the innermost
OURS = (KEY, FIRST, LAST)
KINDS = (
    WrappersMP.PREDICT_NOISE,
    WrappersMP.CALC_COND_BATCH,
    WrappersMP.APPLY_MODEL,
    WrappersMP.DIFFUSION_MODEL,
)
PATCHES = ("patches", "patches_replace")
FUNCTIONS = ("model_function_wrapper", "sampler_calc_cond_batch_function")


class Witness:
    """Sees whether an evaluation reached the model, or some wrapper answered in its place.

    `options`: a copy of `model_options` that has the witness's own wrappers around all others.
    Where there are no others, nothing is wrapped.
    """

    def __init__(self, executor, model_options: dict):
        self._entered = dict.fromkeys(KINDS[2:], 0)
        self._reached = dict.fromkeys(KINDS[2:], 0)
        self.options = dict(model_options)
        transformer = model_options.get("transformer_options", {})
        wrappers = transformer.get("wrappers", {})
        self.is_needed = _has_others(executor, wrappers)
        if self.is_needed:
            around = {kind: self._around(kind, wrappers.get(kind, {})) for kind in KINDS[2:]}
            self.options["transformer_options"] = transformer | {"wrappers": wrappers | around}

    @property
    def reached_model(self) -> bool:
        return not self.is_needed or self._reached[WrappersMP.APPLY_MODEL] > 0

    @property
    def is_fresh(self) -> bool:
        """Whether no part of the estimate came from a cache."""
        return self.reached_model and self._entered == self._reached

    def _around(self, kind: str, wrappers: dict) -> dict:
        def enter(executor, state, *args, **kwargs):
            if not torch.compiler.is_compiling():  # counting would compile it anew each time
                self._entered[kind] += 1
            # EasyCache adds its answer to the state in place: in float32 to the very tensor from
            # which the host then computes the estimate, so that a skipped step spoils the picture.
            state = state.clone() if isinstance(state, torch.Tensor) else state
            return executor(state, *args, **kwargs)

        def reach(executor, *args, **kwargs):
            if not torch.compiler.is_compiling():
                self._reached[kind] += 1
            return executor(*args, **kwargs)

        others = {name: own for name, own in wrappers.items() if name not in OURS}
        return {FIRST: [enter], **others, LAST: [reach]}


def _has_others(executor, wrappers: dict) -> bool:
    """Whether wrappers other than ours take part from `executor`, which is ours, on."""
    inner = executor.wrappers[executor.idx + 1 :]
    others = (name for kind in KINDS[1:] for name, own in wrappers.get(kind, {}).items() if own)
    return bool(inner) or any(name not in OURS for name in others)


def _inside(executor, model_options: dict) -> list[object]:
    """What takes part in an evaluation without being a wrapper that a witness watches.

    Objects among the transformer options are the wrappers' own where there are some.
    """
    transformer = model_options.get("transformer_options", {})
    watched = _has_others(executor, transformer.get("wrappers", {}))
    names = PATCHES if watched else transformer.keys() - {"wrappers", "callbacks"}
    functions = (model_options.get(name) for name in FUNCTIONS)
    return [*functions, *(transformer.get(name) for name in names)]


class Apart:
    """How all that hangs on a model stood before the sampling's first evaluation of it.

    `executor`, `model_options`: as a PREDICT_NOISE wrapper gets them then.
    """

    def __init__(self, executor, model_options: dict):
        model = getattr(executor.class_obj.inner_model, "diffusion_model", None)
        self._model = model
        self._start = Remembered(executor.wrappers, model_options, attributes_of=model)
        self._inside = Remembered(*_inside(executor, model_options), attributes_of=model)
        self._dice = _dice()

    def begin(self) -> None:
        """An evaluation of the sampling begins; those apart are to see the same random numbers."""
        self._dice = _dice()

    def may_be_stale(self) -> bool:
        """Whether something remembers that a witness cannot watch: the model's own layers may have
        answered from a cache.
        """
        return self._inside.has_changed()

    def evaluate(self, executor, model_options: dict, call: Callable[[dict], Tensor]) -> Tensor:
        """`call` of options like `model_options`. StaleEstimate if a wrapper answered even so."""
        witness = Witness(executor, model_options)
        with self._undone(executor, model_options):
            estimate = call(witness.options)
        if not witness.is_fresh:
            raise StaleEstimate
        return estimate

    @contextmanager
    def _undone(self, executor, model_options: dict) -> Iterator[None]:
        roots = (*self._start.objects, executor.wrappers, model_options)
        now, dice = Remembered(*roots, attributes_of=self._model), _dice()
        try:
            self._start.put_back()
            _set_dice(self._dice)
            yield
        finally:
            now.put_back()
            _set_dice(dice)


def _dice() -> tuple:
    """The random numbers that come next, of all devices."""
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), torch.get_rng_state(), on_gpu


def _set_dice(dice: tuple) -> None:
    of_python, of_torch, on_gpu = dice
    random.setstate(of_python)
    torch.set_rng_state(of_torch)
    if on_gpu:
        torch.cuda.set_rng_state_all(on_gpu)
