"""Names of joints: OpenPose's of body, hands, face and feet, and how guiders call the same.

Hands and faces are called as in COCO-WholeBody (mmpose, configs/_base_/datasets/coco_wholebody.py);
the 308 joints of Sapiens (configs/_base_/datasets/goliath.py) have fingers and feet by other names.
"""

import re
from collections.abc import Sequence

import torch

from .people import People

OPENPOSE = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder"),
    *("left elbow", "left wrist", "right hip", "right knee", "right ankle", "left hip"),
    *("left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
FINGERS = ("thumb", "forefinger", "middle finger", "ring finger", "pinky finger")
FACE = tuple(f"face-{k}" for k in range(68))
FEET = tuple(
    f"{side} {part}" for side in ("left", "right") for part in ("big toe", "small toe", "heel")
)
_FINGER = re.compile(
    r"(left|right) (thumb|fore|index|middle|ring|pinky)[ _]?(?:finger)? ?"
    r"([1-4]|tip|first joint|second joint|third joint)"
)
_ALONG = {"tip": "4", "first joint": "3", "second joint": "2", "third joint": "1"}
_CALLED = {"thumb": "thumb", "fore": "forefinger", "index": "forefinger"}


def hand(side: str) -> tuple[str, ...]:
    """OpenPose's 21 points of a hand, of each finger from the palm to the tip."""
    along = (f"{side} {finger}{k}" for finger in FINGERS for k in range(1, 5))
    return (f"{side} hand root", *along)


LISTS = {  # of a person in OpenPose's format: the names of its points
    "pose_keypoints_2d": OPENPOSE,
    "hand_left_keypoints_2d": hand("left"),
    "hand_right_keypoints_2d": hand("right"),
    "face_keypoints_2d": FACE,
    "foot_keypoints_2d": FEET,
}
TOLD = dict(zip(LISTS, ("the body", "left hand", "right hand", "face", "feet"), strict=True))


def common_name(label: str) -> str:
    """A guider's joint as it is called here: "right index tip" is "right forefinger4"."""
    if found := _FINGER.fullmatch(label):
        side, finger, place = found.groups()
        return f"{side} {_CALLED.get(finger, f'{finger} finger')}{_ALONG.get(place, place)}"
    return re.sub(r"(toe) tip$", r"\1", label)


def in_labels_order(people: People, labels: Sequence[str]) -> People:
    """With the joints of `labels`, a guider's, by name; those that are not there have the score 0.

    The note says which lists of joints the guider does not know. ValueError for a guider that knows
    none of the joints.
    """
    names = [common_name(label) for label in labels]
    if not set(names) & set(people.names):
        raise ValueError(
            f"the guider at the socket guider knows no joint of the socket keypoints (it knows "
            f"{', '.join(labels[:5])} ...): connect a pose model of COCO's joints, or a reference "
            f"picture to image"
        )
    place = {name: k for k, name in enumerate(people.names)}
    order = torch.tensor([place.get(name, -1) for name in names])
    scores = people.scores[..., order] * (order >= 0)
    seen = {name for name, k in place.items() if people.scores[..., k].any()}
    unknown = [
        TOLD[key] for key, of in LISTS.items() if seen & set(of) and not set(names) & set(of)
    ]
    note = f"the guider does not know the joints of {', '.join(unknown)}" if unknown else ""
    return people._replace(
        names=tuple(labels),
        points=people.points[..., order, :],
        scores=scores,
        notes=(*people.notes, *filter(None, [note])),
    )
