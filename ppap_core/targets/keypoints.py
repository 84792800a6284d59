"""POSE_KEYPOINT: joints of people in OpenPose's format, as nodes of ComfyUI and others give it.

Read in ComfyUI 0.30.0 (comfy_extras/nodes_sdpose.py): a list of frames, each with canvas_width,
canvas_height and people, and of each person pose_keypoints_2d: x, y and confidence of 18 joints,
one after the other; there may be such lists of hands, face and feet too, or null in their place. x
and y are in pixels; ControlNet's preprocessors may give them in [0, 1]. Pose editors, and nodes
that save keypoints, write the same as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .joint_names import LISTS, OPENPOSE
from .people import People, Size

FORMAT = (
    "the socket 'keypoints' takes POSE_KEYPOINT in OpenPose's format: frames with canvas_width, "
    "canvas_height and people, each with pose_keypoints_2d"
)
LARGEST_SHARE = 2.0  # coordinates up to it are no pixels: joints may lie outside the picture
PUPILS = 2  # that lists of faces may have beyond the 68 points


def read_keypoints(value: Any) -> People:
    """Everyone in each frame, with the joints of all of LISTS.

    ValueError, in one line, for another format, and for a frame without a person. A text is read as
    JSON.
    """
    value = _parsed(value) if isinstance(value, str) else value
    frames = [value] if isinstance(value, Mapping) else value
    if not isinstance(frames, Sequence) or not frames:
        raise ValueError(f"{FORMAT}; it got {_found(value)}: connect a pose detector")
    read = [_read_frame(frame, number) for number, frame in enumerate(frames, 1)]
    most = max(len(people) for people, _ in read)
    names = tuple(name for of in LISTS.values() for name in of)
    joints = torch.zeros(len(read), most, len(names), 3)
    for row, (people, _) in zip(joints, read, strict=True):
        row[: len(people)] = torch.stack(people)
    return People(names, joints[..., :2], joints[..., 2], [size for _, size in read])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{FORMAT}, or as JSON; it got a text that is none: {error}") from None


def _read_frame(frame: Any, number: int) -> tuple[list[Tensor], Size]:
    """The people (K, 3): x, y in [0, 1] and confidence; and the canvas."""
    try:
        size = float(frame["canvas_width"]), float(frame["canvas_height"])
        people = [_read_person(person) for person in frame["people"] if _has_body(person)]
        if min(size) <= 0 or not all(person.isfinite().all() for person in people):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{FORMAT} of {len(OPENPOSE)} joints (x, y, confidence); its frame {number} is not "
            f"like that: connect another pose detector"
        ) from None
    if not people:
        raise ValueError(
            f"the socket 'keypoints' has no person in frame {number}: connect the pose of a "
            f"picture that shows one"
        )
    for person in people:
        seen = person[person[:, 2] > 0, :2]
        if seen.numel() and seen.max() > LARGEST_SHARE:
            person[:, :2] /= torch.tensor(size)
    return people, size


def _has_body(person: Mapping) -> bool:
    return bool(person["pose_keypoints_2d"])


def _read_person(person: Mapping) -> Tensor:
    lists = []
    for key, names in LISTS.items():
        values = [float(value) for value in person.get(key) or [0.0] * (3 * len(names))]
        points = torch.tensor(values).view(-1, 3)
        if len(points) - len(names) not in (0, PUPILS if key.startswith("face") else 0):
            raise ValueError(f"{key} has {len(points)} points")
        lists.append(points[: len(names)])
    return torch.cat(lists)


def _found(value: Any) -> str:
    if isinstance(value, Sequence) and not value:
        return "no frames"
    return "nothing" if value is None else f"a {type(value).__name__}"
