"""A pose target from people's joints, fitted to the picture that is to be made."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .cut_outs_target import CutOutsTarget
from .joint_names import in_labels_order
from .map_target import Frame, MapTarget
from .people import People, Size
from .pose_boxes import person_boxes, shares_of_picture
from .pose_drawing import draw_poses
from .pose_regions import WHOLE, draw_region
from .pose_target import PoseTarget
from .target import Target
from .wording import listed

MOST_NAMES = 6
LARGE = 0.5  # of the picture: the box of a person who is read from the whole picture


class MadePose(NamedTuple):
    """`region`: where guidance may be limited to, (R or 1, H, W), 1 inside and 0 elsewhere."""

    shown: MapTarget
    region: Tensor


def build_pose_target(
    labels: Sequence[str],
    people: People,
    confidence: float,
    frame: Frame,
    reads: tuple[int, int],
    region: str = WHOLE,
) -> MadePose:
    """What a guider of joints `labels`, which `reads` (height, width), should see of `people`.

    Nothing is asked of joints that are less than `confidence` sure, or outside the picture.
    `region`: one of pose_regions.REGIONS. ValueError, in one line, if nothing is left of a picture.
    """
    fitted = [fit_points(*row, frame) for row in zip(people.points, people.sizes, strict=True)]
    points, sizes = zip(*fitted, strict=True)
    people = people._replace(points=torch.stack(points), sizes=list(sizes))
    mask = draw_region(region, people, confidence)
    people = in_labels_order(people, labels)
    asked = people.sure(confidence) & ((people.points >= 0) & (people.points <= 1)).all(-1)
    _check_asked(people, asked, confidence)
    of_someone = asked.any(2).any(0)
    points, asked = people.points[:, of_someone], asked[:, of_someone]
    target = _ask(points, asked, torch.tensor(sizes), reads)
    boxes = getattr(target, "boxes", None)
    preview = draw_poses(points, asked, labels, sizes[0], boxes)
    lines = [_told(labels, asked), *people.notes]
    if boxes is not None:
        lines.append("the guider reads the box around each person")
    return MadePose(MapTarget(target, preview, "\n".join(lines)), mask)


def _check_asked(people: People, asked: Tensor, confidence: float) -> None:
    for number, row in enumerate(asked, 1):
        if not row.any():
            raise ValueError(
                f"picture {number} has no joint inside the picture that is {confidence:g} sure "
                f"(the highest is {people.scores[number - 1].max().item():.2g}): lower the widget "
                f"confidence, or connect a picture or pose with a person who is in view"
            )


def _ask(points: Tensor, asked: Tensor, sizes: Tensor, reads: tuple[int, int]) -> Target:
    """Of P people (R, P, J): each in the own box, or one large person in the whole picture."""
    is_there = asked.any(2)
    # A picture with fewer people shows one of them again, which then counts nothing.
    first = is_there.int().argmax(1, keepdim=True)
    shown = torch.where(is_there, torch.arange(is_there.shape[1]), first)
    row = torch.arange(len(shown))[:, None]
    points, asked = points[row, shown], asked[row, shown]
    boxes = person_boxes(points, asked, sizes, reads)
    if boxes.shape[1] == 1 and shares_of_picture(boxes).min() >= LARGE:
        return PoseTarget(points[:, 0].clamp(0, 1), asked[:, 0].float())
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    in_boxes = (points - low) / (high - low)
    targets = tuple(map(PoseTarget, in_boxes.unbind(1), asked.float().unbind(1)))
    return CutOutsTarget(targets, boxes, is_there.float())


def _told(labels: Sequence[str], asked: Tensor) -> str:
    """How many joints are asked for, of how many people, and which are not."""
    rows = f"{len(asked)} picture{'s' * (len(asked) > 1)}"
    joints = ", ".join(map(str, asked.sum((1, 2)).tolist()))
    info = f"pose target for {rows}: {joints} of {len(labels)} joints"
    if asked.shape[1] > 1:
        people = ", ".join(map(str, asked.any(2).sum(1).tolist()))
        info = f"pose target for {rows}: {people} people, {joints} joints"
    used = asked.any(0).any(0).tolist()
    if left := [name for name, is_used in zip(labels, used, strict=True) if not is_used]:
        info += f"\nnot asked for: {listed(left, 'and', most=MOST_NAMES)}"
    return info


def fit_points(points: Tensor, size: Size, frame: Frame) -> tuple[Tensor, Size]:
    """Points (..., 2) of a picture of `size`, in one of the frame's proportions; and its size.

    As `maps.fit_frame` does it with maps.
    """
    width, height = size
    if frame.fit == "stretch" or not frame.width or not frame.height:
        return points, size
    is_wide = width * frame.height > frame.width * height
    if is_wide == (frame.fit == "crop"):
        new = (height * frame.width / frame.height, height)
    else:
        new = (width, width * frame.height / frame.width)
    return (points - 0.5) * points.new_tensor(size) / points.new_tensor(new) + 0.5, new
