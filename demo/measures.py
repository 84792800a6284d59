"""How close pictures are to the scenes that were asked for, in class, depth and segments.

The judges measure, which guide nothing; or, for classes, the guider itself.
"""

import torch
from torch import Tensor

from demo import paths
from demo.judges import Dense, load_dense_judge, load_judge
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from demo.shapes import SHAPES
from ppap_core.targets import ClassTarget, DepthTarget, SegmentationTarget

NEAREST, FARTHEST = 2.8, 7.5  # depths between which all scenes lie
BATCH = 50
FILES = {  # task: guider, its experts
    "class": (paths.GUIDER, paths.EXPERTS),
    "depth": (paths.DEPTH_GUIDER, paths.DEPTH_EXPERTS),
    "segmentation": (paths.SEGMENTATION_GUIDER, paths.SEGMENTATION_EXPERTS),
}
MEASURES = {"class": "accuracy", "depth": "aligned RMSE", "segmentation": "mIoU"}  # of tasks


def nearness_of(depth: Tensor) -> Tensor:
    """Inverse depth, in [0, 1] from the farthest to the nearest, shaped like `depth`."""
    far, near = 1 / FARTHEST, 1 / NEAREST
    return (1 / depth - far) / (near - far)


def aligned_rmse(nearness: Tensor, truth: Tensor) -> Tensor:
    """Per picture (B,): root mean squared error after the best scale and shift of `nearness`."""
    nearness, truth = nearness.flatten(1), truth.flatten(1)
    columns = torch.stack((nearness, torch.ones_like(nearness)), -1)
    fit = torch.linalg.lstsq(columns, truth[..., None]).solution
    return (columns @ fit - truth[..., None]).square().mean((1, 2)).sqrt()


def intersection_over_union(segments: Tensor, truth: Tensor) -> Tensor:
    """Per class (3,), counted over all pixels together."""
    classes = torch.arange(len(SEGMENTS)).view(-1, *[1] * truth.ndim)
    found, there = segments == classes, truth == classes
    return (found & there).flatten(1).sum(1) / (found | there).flatten(1).sum(1)


def build_target(task: str, scenes: Scenes):
    """The target that asks for these scenes, one for each picture of a batch."""
    if task == "class":
        return ClassTarget([{int(label): 1.0} for label in scenes.label], len(SHAPES))
    if task == "depth":
        return DepthTarget(nearness_of(scenes.depth))
    return SegmentationTarget(scenes.segmentation.long(), len(SEGMENTS))


@torch.no_grad()
def measure(task: str, pictures: Tensor, scenes: Scenes) -> float:
    """MEASURES[task] of pictures (N, 3, 32, 32) in [-1, 1] that were asked to show `scenes`."""
    if task == "class":
        answers = load_judge(paths.JUDGE)(pictures).argmax(dim=1)
        return (answers == scenes.label).float().mean().item()
    answer = judge_answer(pictures)
    if task == "depth":
        return aligned_rmse(answer.nearness, nearness_of(scenes.depth)).mean().item()
    return intersection_over_union(answer.logits.argmax(1), scenes.segmentation).mean().item()


@torch.no_grad()
def judge_answer(image: Tensor) -> Dense:
    """What the judge of maps says of image (B, 3, 32, 32) in [-1, 1]."""
    judge = load_dense_judge(paths.DENSE_JUDGE)
    answers = [judge(part) for part in image.split(250)]
    return Dense(*(torch.cat(maps) for maps in zip(*answers, strict=True)))


def recognise(guider, images: Tensor) -> Tensor:
    """The guider's classes (B,) of images (B, 3, H, W), on the CPU; the guider may be elsewhere."""
    return guider(images.to(next(guider.parameters()).device)).argmax(1).cpu()


def own_accuracy(guider, pictures: Tensor, classes: Tensor) -> float:
    """Share of pictures (N, 3, H, W) that the guider without experts assigns to `classes` (N,)."""
    guider.switch.restore()
    answers = torch.cat([recognise(guider, part) for part in pictures.split(BATCH)])
    return (answers == classes).float().mean().item()
