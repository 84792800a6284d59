"""Normals and edges on the demo world, for evidence.tasks.

Pictures are asked for the exact normals of held-out scenes, or for the edges of their pictures.
Normals are measured by a judge that guides nothing, edges by the edge filter, which is exact. The
experts of normals learned from 800 pictures (`demo.train`'s flags, and --num-images 800).
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from demo.normals import render_normals
from demo.normals_models import load_normals_judge
from demo.paths import NORMALS_EXPERTS, NORMALS_GUIDER
from demo.sampling import sample
from demo.scenes import random_parameters
from ppap_core.expert_file import load_experts
from ppap_core.guiders import BUILT_IN, Guider, load_guider
from ppap_core.guiders.edge_filter import NAME as EDGE_FILTER
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import Target
from ppap_core.targets.edges_target import EdgesTarget
from ppap_core.targets.normals_target import NormalsTarget

HELDOUT = (6000, 1)  # of demo.scene_files.load_heldout_scenes: number and seed
BATCH = 50
ALONE, EXPERTS = "guider alone", "experts"


class MapRow(NamedTuple):
    """What is asked for, by what, with which gradient of the estimate, how strongly."""

    task: str
    method: str
    jacobian: str
    strength: float


def planned() -> Iterator[MapRow]:
    """Without those of no guidance."""
    for jacobian in ("none", "jvp"):
        for task in MAPS:
            yield MapRow(task, ALONE, jacobian, 1.0)
    yield MapRow("normals", EXPERTS, "none", 1.0)


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


def sample_row(row: MapRow, model, references: Tensor, seed: int) -> tuple[Tensor, float]:
    """Pictures (N, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
    from ppap_core.comfy_bridge.guide import guide
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    guider = LoadedGuider.of(MAPS[row.task].guider())
    if row.method == EXPERTS:
        guider = guider.with_experts(load_experts(NORMALS_EXPERTS))
    begin, parts = time.process_time(), []
    for first in range(0, len(references), BATCH):
        some = references[first : first + BATCH]
        target = MAPS[row.task].target(some, first)
        how = {"reading": Reading("x0_hat", "identity"), "jacobian": row.jacobian}
        guided = guide(model, guider, target, Strength(row.strength), **how)
        parts.append(sample(guided, [seed + first + i for i in range(len(some))]))
    return torch.cat(parts), (time.process_time() - begin) / len(references)


def measure_row(task: str, pictures: Tensor, references: Tensor) -> tuple[str, float]:
    """The measure's name, and its mean over pictures."""
    target = MAPS[task].target(references, 0)
    agreement = target.agreement(MAPS[task].judge(pictures)).mean().item()
    return target.wording(()).axis, agreement
