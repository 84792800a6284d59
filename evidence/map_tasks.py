"""Normals, poses and edges on the demo world, for evidence.tasks.

Pictures are asked for the exact normals or key points of held-out scenes, or for the edges of their
pictures. Normals and key points are measured by judges that guide nothing, edges by the edge
filter, which is exact. The experts learned from 800 pictures (`demo.train`'s flags, and
--num-images 800).
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from demo.judges import Judge
from demo.keypoints import render_keypoints
from demo.normals import render_normals
from demo.normals_models import load_normals_judge
from demo.paths import NORMALS_EXPERTS, NORMALS_GUIDER, POSE_EXPERTS, POSE_GUIDER
from demo.pose_models import load_pose_judge, pose_target
from demo.scene_files import HELDOUT
from demo.scenes import random_parameters
from evidence.quality import measure_quality
from evidence.task_rows import (
    ALONE,
    EXPERTS,
    NO_GUIDANCE,
    Key,
    Measurement,
    sample_way,
)
from ppap_core.expert_file import load_experts
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders import BUILT_IN, Guider, load_guider
from ppap_core.guiders.edge_filter import NAME as EDGE_FILTER
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import Target
from ppap_core.targets.edges_target import EdgesTarget
from ppap_core.targets.normals_target import NormalsTarget
from ppap_core.targets.pose_target import PoseTarget
from ppap_core.tasks import get_task

SHOWN = 8


def planned() -> Iterator[Key]:
    for task, way in MAPS.items():
        yield task, NO_GUIDANCE, "", 0.0
        yield from ((task, ALONE, jacobian, 1.0) for jacobian in ("none", "jvp"))
        if way.experts:
            jacobians = dict.fromkeys(("none", get_task(task).recommended.experts_jacobian))
            yield from ((task, EXPERTS, jacobian, 1.0) for jacobian in jacobians)


class MapTask(NamedTuple):
    """`guider`: without experts. `target`: (references (N, 3, 32, 32), the number of the first) ->
    what asks for them. `judge`: pictures (N, 3, 32, 32) -> the answer that the target measures.
    `experts`: the file of the guider's, if it has any.
    """

    guider: Callable[[], Guider]
    target: Callable[[Tensor, int], Target]
    judge: Callable[[Tensor], Tensor]
    experts: Path | None = None


def _scenes(num: int, first: int) -> dict[str, Tensor]:
    """The parameters of `num` held-out scenes."""
    rows = slice(first, first + num)
    return {name: column[rows] for name, column in random_parameters(*HELDOUT).items()}


def _normals_target(references: Tensor, first: int) -> NormalsTarget:
    return NormalsTarget(render_normals(_scenes(len(references), first), references.shape[-1]))


def _pose_target(references: Tensor, first: int) -> PoseTarget:
    return pose_target(render_keypoints(_scenes(len(references), first), references.shape[-1]))


def _edges_target(references: Tensor, first: int) -> EdgesTarget:
    return EdgesTarget(BUILT_IN[EDGE_FILTER]()(references)[:, 0].sigmoid())


@torch.no_grad()
def _judge_normals(pictures: Tensor) -> Tensor:
    return load_normals_judge()(pictures)


@torch.no_grad()
def _judge_pose(pictures: Tensor) -> Tensor:
    return load_pose_judge()(pictures)


@torch.no_grad()
def _judge_edges(pictures: Tensor) -> Tensor:
    return BUILT_IN[EDGE_FILTER]()(pictures)


MAPS = {
    "normals": MapTask(
        lambda: load_guider(NORMALS_GUIDER), _normals_target, _judge_normals, NORMALS_EXPERTS
    ),
    "pose": MapTask(lambda: load_guider(POSE_GUIDER), _pose_target, _judge_pose, POSE_EXPERTS),
    "edges": MapTask(BUILT_IN[EDGE_FILTER], _edges_target, _judge_edges),
}


class Maps:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, references: Tensor, real: Tensor, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.references = references

    def sample(self, key: Key, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, key)
        return sample_way(self.model, key[3], guided, self.seed, num)

    def draw(self) -> Image.Image:
        """Pictures asked for what references show, by a guider alone at strength 1."""
        rows = [GridRow("references", "", self.references[:SHOWN])]
        for task in MAPS:
            pictures, _ = self.sample((task, ALONE, "jvp", 1.0), SHOWN)
            rows.append(GridRow(task, "guider alone, jvp", pictures))
        return draw_grid([""] * SHOWN, rows)

    def measure(self, key: Key) -> Measurement:
        pictures, seconds = self.sample(key, len(self.references))
        task = MAPS[key[0]]
        target = task.target(self.references, 0)
        value, wording = target.agreement(task.judge(pictures)), target.wording(())
        axis = wording.axis
        if wording.is_share:
            value, axis = 100 * value, f"{axis} (%)".replace(") (", ", ")
        quality = measure_quality(self.judge, pictures, self.real)
        mean = value.mean().item()
        return Measurement.of(key, axis, mean, quality, len(pictures), seconds)

    def _guided(self, key: Key, rows: Tensor):
        """MODEL, asked for the references with the numbers `rows`."""
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        task, method, jacobian, strength = key
        guider = LoadedGuider.of(MAPS[task].guider())
        if method == EXPERTS:
            guider = guider.with_experts(load_experts(MAPS[task].experts))
        target = MAPS[task].target(self.references[rows], int(rows[0]))
        how = {"reading": Reading("x0_hat", "identity"), "jacobian": jacobian}
        return guide(self.model, guider, target, Strength(strength), **how)
