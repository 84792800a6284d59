"""POSE_KEYPOINT: joints of people in OpenPose's format, as nodes of ComfyUI and others give it.

Read in ComfyUI 0.30.0 (comfy_extras/nodes_sdpose.py): a list of frames, each with canvas_width,
canvas_height and people, and of each person pose_keypoints_2d: x, y and confidence of 18 joints,
one after the other. x and y are in pixels; ControlNet's preprocessors may give them in [0, 1].
Pose editors, and nodes that save keypoints, write the same as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .heatmaps import Joints

OPENPOSE = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder"),
    *("left elbow", "left wrist", "right hip", "right knee", "right ankle", "left hip"),
    *("left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
FORMAT = (
    "the socket 'keypoints' takes POSE_KEYPOINT in OpenPose's format: frames with canvas_width, "
    "canvas_height and people, each with pose_keypoints_2d"
)
Size = tuple[float, float]  # (width, height)
LARGEST_SHARE = 2.0  # coordinates up to it are no pixels: joints may lie outside the picture


def read_keypoints(value: Any, person: int, confidence: float) -> tuple[Joints, list[Size], str]:
    """Of each frame one person's joints in OpenPose's order, the canvases, and a note for the user.

    `person`: 0 is the largest, by the box of the joints that are at least `confidence` sure; 1 is
    the first in the list. ValueError, in one line, for another format, and for a person that is not
    there. A text is read as JSON.
    """
    value = _parsed(value) if isinstance(value, str) else value
    frames = [value] if isinstance(value, Mapping) else value
    if not isinstance(frames, Sequence) or not frames:
        raise ValueError(f"{FORMAT}; it got {_found(value)}: connect a pose detector")
    read = [_read_frame(frame, number) for number, frame in enumerate(frames, 1)]
    chosen = [
        _choose(people, person, confidence, size, number)
        for number, (people, size) in enumerate(read, 1)
    ]
    counts = sorted({len(people) for people, _ in read})
    told = "person" if counts == [1] else "people"
    numbers = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else counts[0]
    which = f"person {person}" if person else "the largest"
    note = f"keypoints has {numbers} {told} in a picture: {which} is taken"
    joints = torch.stack(chosen)
    return Joints(joints[..., :2], joints[..., 2]), [size for _, size in read], note


def in_labels_order(joints: Joints, labels: Sequence[str]) -> Joints:
    """OpenPose's joints in the order of a guider's, by name; those that it lacks have the score 0.

    ValueError for a guider that knows none of them.
    """
    if not (known := [name for name in labels if name in OPENPOSE]):
        raise ValueError(
            f"the guider at the socket guider knows no joint of the socket keypoints (it knows "
            f"{', '.join(labels[:5])} ...): connect a pose model of COCO's joints, or a reference "
            f"picture to image"
        )
    rows = len(joints.points)
    points, scores = torch.zeros(rows, len(labels), 2), torch.zeros(rows, len(labels))
    for name in known:
        have, want = OPENPOSE.index(name), labels.index(name)
        points[:, want], scores[:, want] = joints.points[:, have], joints.scores[:, have]
    return Joints(points, scores)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{FORMAT}, or as JSON; it got a text that is none: {error}") from None


def _read_frame(frame: Any, number: int) -> tuple[list[Tensor], Size]:
    """The people (18, 3): x, y in [0, 1] and confidence; and the canvas."""
    try:
        size = float(frame["canvas_width"]), float(frame["canvas_height"])
        flat = [person["pose_keypoints_2d"] for person in frame["people"]]
        people = [
            torch.tensor([float(v) for v in values]).view(len(OPENPOSE), 3)
            for values in flat
            if values
        ]
        if min(size) <= 0 or not all(person.isfinite().all() for person in people):
            raise ValueError
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{FORMAT} of {len(OPENPOSE)} joints (x, y, confidence); its frame {number} is not "
            f"like that: connect another pose detector"
        ) from None
    for person in people:
        seen = person[person[:, 2] > 0, :2]
        if seen.numel() and seen.max() > LARGEST_SHARE:
            person[:, :2] /= torch.tensor(size)
    return people, size


def _choose(people: list[Tensor], person: int, confidence: float, size: Size, frame: int) -> Tensor:
    if not people:
        raise ValueError(
            f"the socket 'keypoints' has no person in frame {frame}: connect the pose of a picture "
            f"that shows one"
        )
    if person > len(people):
        told = "1 person" if len(people) == 1 else f"{len(people)} people"
        raise ValueError(
            f"the widget person is {person}, but frame {frame} of the socket 'keypoints' has "
            f"{told}: choose 1 to {len(people)}, or 0 for the largest"
        )
    if person:
        return people[person - 1]
    return max(people, key=lambda joints: _area(joints, confidence, size))


def _area(joints: Tensor, confidence: float, size: Size) -> float:
    """Of the box of the joints that are seen, in pixels."""
    seen = joints[(joints[:, 2] >= confidence) & (joints[:, 2] > 0), :2]
    if not len(seen):
        return -1.0
    return ((seen.amax(0) - seen.amin(0)) * torch.tensor(size)).prod().item()


def _found(value: Any) -> str:
    if isinstance(value, Sequence) and not value:
        return "no frames"
    return "nothing" if value is None else f"a {type(value).__name__}"
