"""The poses of people in a reference picture, as a pose model sees them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..cut_outs import check_boxes, cut_out
from ..guiders import Preprocessing
from .box_sources import Found
from .heatmaps import read_joints
from .joint_names import common_name
from .people import People, choose
from .pose_boxes import enlarged

Predict = Callable[[Tensor], Tensor]  # pictures (N, 3, H, W) -> heatmaps (N, J, h, w), on the CPU


def read_whole(labels: Sequence[str], image: Tensor, person: int, predict: Predict) -> People:
    """One person, whom the guider sees in each of `image` (R, 3, H, W) as a whole."""
    if person > 1:
        raise ValueError(
            f"the widget person is {person}, but in image the guider sees one person: choose 0, or "
            f"connect boxes around people to bboxes"
        )
    joints = read_joints(predict(image))
    sizes = [tuple(image.shape[:1:-1])] * len(image)
    names = tuple(map(common_name, labels))
    return People(names, joints.points[:, None], joints.scores[:, None], sizes)


def read_in_boxes(
    labels: Sequence[str],
    image: Tensor,
    rows: Sequence[Sequence[Found]],
    person: int,
    reads: Preprocessing,
    predict: Predict,
) -> People:
    """A person in each box of `rows`, of one picture of `image` (R, 3, H, W) or of each.

    The largest first; `person`: EVERYONE, or only the person of that place. ValueError for a box
    outside the picture, and for boxes of another number of pictures.
    """
    if len(rows) != len(image):
        raise ValueError(
            f"the socket bboxes has boxes of {len(rows)} pictures, the socket image has "
            f"{len(image)}: connect boxes that were found in image"
        )
    most = max(map(len, rows))
    filled = [(*row, *[row[0]] * (most - len(row))) for row in rows]
    corners = torch.tensor([[box.corners for box in row] for row in filled])
    try:
        check_boxes(corners)
    except ValueError:
        raise ValueError(
            "a box of the socket bboxes is empty or outside the picture at image: connect boxes "
            "that were found in that picture"
        ) from None
    sizes = [tuple(image.shape[:1:-1])] * len(image)
    boxes = enlarged(*corners.split(2, -1), torch.tensor(sizes).float(), reads.size)
    joints = read_joints(predict(cut_out(image, boxes, reads)))
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    points = low + joints.points.unflatten(0, (-1, most)) * (high - low)
    is_there = torch.tensor([[k < len(row) for k in range(most)] for row in rows])
    scores = joints.scores.unflatten(0, (-1, most)) * is_there[..., None]
    people = People(tuple(map(common_name, labels)), points, scores, sizes)
    return choose(people, person, 0.0, "bboxes")
