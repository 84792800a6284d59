"""Normals and edges on the demo world, for evidence.tasks.

Pictures are asked for the exact normals of held-out scenes, or for the edges of their pictures.
Normals are measured by a judge that guides nothing, edges by the edge filter, which is exact. The
experts of normals learned from 800 pictures (`demo.train`'s flags, and --num-images 800).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from demo.judges import Judge
from demo.normals import render_normals
from demo.normals_models import load_normals_judge
from demo.paths import NORMALS_EXPERTS, NORMALS_GUIDER
from demo.scenes import random_parameters
from evidence.quality import measure_quality
from evidence.task_rows import ALONE, EXPERTS, NO_GUIDANCE, Key, Measurement, sample_rows
from ppap_core.expert_file import load_experts
from ppap_core.guiders import BUILT_IN, Guider, load_guider
from ppap_core.guiders.edge_filter import NAME as EDGE_FILTER
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import Target
from ppap_core.targets.edges_target import EdgesTarget
from ppap_core.targets.normals_target import NormalsTarget

HELDOUT = (6000, 1)  # of demo.scene_files.load_heldout_scenes: number and seed


def planned() -> Iterator[Key]:
    for task in MAPS:
        yield task, NO_GUIDANCE, "", 0.0
        yield from ((task, ALONE, jacobian, 1.0) for jacobian in ("none", "jvp"))
    yield "normals", EXPERTS, "none", 1.0


class MapTask(NamedTuple):
    """`guider`: without experts. `target`: (references (N, 3, 32, 32), the number of the first) ->
    what asks for them. `judge`: pictures (N, 3, 32, 32) -> the answer that the target measures.
    """

    guider: Callable[[], Guider]
    target: Callable[[Tensor, int], Target]
    judge: Callable[[Tensor], Tensor]


def _normals_target(references: Tensor, first: int) -> NormalsTarget:
    rows = slice(first, first + len(references))
    columns = {name: column[rows] for name, column in random_parameters(*HELDOUT).items()}
    return NormalsTarget(render_normals(columns, references.shape[-1]))


def _edges_target(references: Tensor, first: int) -> EdgesTarget:
    return EdgesTarget(BUILT_IN[EDGE_FILTER]()(references)[:, 0].sigmoid())


@torch.no_grad()
def _judge_normals(pictures: Tensor) -> Tensor:
    return load_normals_judge()(pictures)


@torch.no_grad()
def _judge_edges(pictures: Tensor) -> Tensor:
    return BUILT_IN[EDGE_FILTER]()(pictures)


MAPS = {
    "normals": MapTask(lambda: load_guider(NORMALS_GUIDER), _normals_target, _judge_normals),
    "edges": MapTask(BUILT_IN[EDGE_FILTER], _edges_target, _judge_edges),
}


class Maps:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, references: Tensor, real: Tensor, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.references = references

    def sample(self, key: Key) -> tuple[Tensor, float]:
        """Pictures (N, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        return sample_rows(lambda rows: self._guided(key, rows), self.seed, len(self.references))

    def measure(self, key: Key) -> Measurement:
        pictures, seconds = self.sample(key)
        task = MAPS[key[0]]
        target = task.target(self.references, 0)
        value, wording = target.agreement(task.judge(pictures)), target.wording(())
        if wording.is_share:
            value = 100 * value
        quality = measure_quality(self.judge, pictures, self.real)
        mean = value.mean().item()
        return Measurement.of(key, wording.axis, mean, quality, len(pictures), seconds)

    def _guided(self, key: Key, rows: Tensor):
        """MODEL, asked for the references with the numbers `rows`."""
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        task, method, jacobian, strength = key
        if not strength:
            return self.model
        guider = LoadedGuider.of(MAPS[task].guider())
        if method == EXPERTS:
            guider = guider.with_experts(load_experts(NORMALS_EXPERTS))
        target = MAPS[task].target(self.references[rows], int(rows[0]))
        how = {"reading": Reading("x0_hat", "identity"), "jacobian": jacobian}
        return guide(self.model, guider, target, Strength(strength), **how)
