"""What guidance did, found again by the LATENT that it made.

A MODEL may be sampled many times before a report looks, and the host copies LATENTs: it moves their
tensors, puts masks beside them, takes single pictures out of a batch. So a run is kept under the
content of each picture that it made. A picture that was changed since (scaled, cropped, blended)
is not known.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ..guidance import Guidance
from ..guidance_run import Outcome

MOST_RUNS = 32  # with about 0.15 MB for each of their steps


class _Run(NamedTuple):
    pictures: frozenset[bytes]
    outcomes: tuple[Outcome, ...]


class Outcomes:
    """The last runs' outcomes, by the pictures (B, ...) of the samples that they made."""

    def __init__(self) -> None:
        self._runs: deque[_Run] = deque(maxlen=MOST_RUNS)

    def keep(self, samples: Sequence[Tensor], outcomes: Sequence[Outcome]) -> None:
        """`samples`: all tensors that show what the run made, each (B, ...)."""
        pictures = frozenset(key for tensor in samples for key in _pictures(tensor))
        self._runs.append(_Run(pictures, tuple(outcomes)))

    def of(self, samples: Tensor, guidances: Sequence[Guidance] = ()) -> tuple[Outcome, ...]:
        """Of the run, or the runs, that made the pictures of `samples` (B, ...), if known.

        Guidance without effect makes the pictures that others make: a run by one of `guidances`
        comes first, then the latest.
        """
        found: dict[int, Outcome] = {}
        for key in _pictures(samples):
            runs = [run for run in self._runs if key in run.pictures]
            by_them = [run for run in runs if any(o.guidance() in guidances for o in run.outcomes)]
            for run in (by_them or runs)[-1:]:
                found |= {id(outcome): outcome for outcome in run.outcomes}
        return tuple(found.values())


class LastEstimate:
    """Stands before a sampler's `callback` and notes the last estimate, which nodes put out too."""

    def __init__(self, callback: Callable):
        self.callback = callback
        self.x_0: Tensor | None = None

    def __call__(self, step: int, x_0: Tensor, x: Tensor, num_steps: int) -> object:
        self.x_0 = x_0
        return self.callback(step, x_0, x, num_steps)

    def as_latent(self, model) -> list[Tensor]:
        """As SamplerCustomAdvanced puts it out for `model`, the host's BaseModel; [] before it."""
        return [] if self.x_0 is None else [model.process_latent_out(self.x_0.cpu())]


def joined(earlier: Sequence[Outcome], later: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Of one sampling in two parts: what the same guidance did in both counts as one."""
    rest, found = list(later), []
    for outcome in earlier:
        same = next((other for other in rest if other.guidance == outcome.guidance), None)
        found.append(outcome.followed_by(same) if same else outcome)
        rest = [other for other in rest if other is not same]
    return *found, *rest


def as_the_host_stores(samples: Tensor) -> Tensor:
    """`samples` with the precision that sampler nodes give their LATENT (comfy/sample.py)."""
    stored = getattr(comfy.model_management, "intermediate_dtype", lambda: samples.dtype)
    return samples.to(stored())


def _pictures(samples: Tensor) -> list[bytes]:
    """A hash of each picture's numbers; samples of several streams count as ComfyUI packs them."""
    if getattr(samples, "is_nested", False):
        samples = comfy.utils.pack_latents(samples.unbind())[0]
    rows = samples.detach().to("cpu", torch.float32).contiguous()
    shape = str(tuple(rows.shape[1:])).encode()
    return [hashlib.blake2b(row.numpy().tobytes() + shape).digest() for row in rows]
