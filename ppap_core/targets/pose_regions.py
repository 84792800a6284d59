"""Parts of people as masks: what guidance may be limited to, from their joints.

Heads and hands are the squares in which OpenPose looks for the points of face and hand
(src/openpose/face/faceDetector.cpp and hand/handDetector.cpp), or lie around these points.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..cut_outs import box_mask
from .joint_names import FACE, hand
from .people import People
from .pose_boxes import MARGIN
from .pose_drawing import SIDE

WHOLE = "whole picture"
ENOUGH = 5  # points of a face or hand, to know where it is
AROUND = 1.5  # times the box of these points
Known = Mapping[str, Tensor]  # the joints of a person that are there: their places in pixels
Square = tuple[Tensor, Tensor]  # the upper left corner and the lower right one


def _body(known: Known) -> Iterator[Square]:
    yield _around(list(known.values()), MARGIN)


def _head(known: Known) -> Iterator[Square]:
    if len(face := _named(known, FACE)) >= ENOUGH:
        yield _around(face, AROUND)
        return
    parts = ("nose", "left eye", "right eye", "left ear", "right ear")
    neck = _named(known, ("left shoulder", "right shoulder"))
    sides = [
        times * (known[a] - known[b]).norm()
        for times, a, b in ((3, "left eye", "right eye"), (2, "left ear", "right ear"))
        if a in known and b in known
    ]
    if "nose" in known and len(neck) == 2:
        sides.append(2 * (known["nose"] - sum(neck) / 2).norm())
    if sides:
        yield _square(torch.stack(_named(known, parts)).mean(0), sum(sides) / len(sides))


def _hands(known: Known) -> Iterator[Square]:
    for side in ("left", "right"):
        arm = _named(known, [f"{side} {joint}" for joint in ("shoulder", "elbow", "wrist")])
        if len(points := _named(known, hand(side))) >= ENOUGH:
            yield _around(points, AROUND)
        elif len(arm) == 3:
            shoulder, elbow, wrist = arm
            forearm, upper = (wrist - elbow).norm(), (elbow - shoulder).norm()
            yield _square(wrist + 0.33 * (wrist - elbow), 1.5 * max(forearm, 0.9 * upper))


_PARTS: dict[str, tuple[Callable[[Known], Iterator[Square]], str]] = {
    "people": (_body, "joint"),
    "heads": (_head, "face, pair of eyes or ears, or nose and shoulders"),
    "hands": (_hands, "hand, or arm from shoulder to wrist"),
}
REGIONS = (WHOLE, *_PARTS)


def draw_region(region: str, people: People, confidence: float) -> Tensor:
    """Where `region`, one of REGIONS, of `people` is: (R, H, W), 1 inside and 0 elsewhere.

    ValueError, in one line, for a picture that shows nothing of it.
    """
    width, height = people.sizes[0]
    sides = [max(1, round(SIDE * side / max(width, height))) for side in (height, width)]
    if region == WHOLE:
        return torch.ones(1, *sides)
    if region not in _PARTS:
        raise ValueError(f"the widget region is one of {', '.join(REGIONS)}, got {region!r}")
    squares_of, needed = _PARTS[region]
    masks = []
    known_in = _known(people, confidence)
    for number, (size, row) in enumerate(zip(people.sizes, known_in, strict=True), 1):
        squares = [square for known in row if known for square in squares_of(known)]
        boxes = [torch.cat(square) / torch.tensor((*size, *size)) for square in squares]
        mask = box_mask(torch.stack(boxes)[None], sides)[0] if boxes else torch.zeros(1, 1)
        if not mask.any():
            raise ValueError(
                f"the widget region is {region}, but picture {number} has no {needed} that is "
                f"{confidence:g} sure: lower the widget confidence, or choose another region"
            )
        masks.append((mask > 0.5).float())
    return torch.stack(masks)


def _known(people: People, confidence: float) -> Iterator[list[Known]]:
    """Of each picture, of each person."""
    sure = people.sure(confidence)
    for size, points, there in zip(people.sizes, people.points, sure, strict=True):
        pixels = points * torch.tensor(size)
        yield [
            {name: places[k] for k, name in enumerate(people.names) if is_sure[k]}
            for places, is_sure in zip(pixels, there.tolist(), strict=True)
        ]


def _named(known: Known, names: Sequence[str]) -> list[Tensor]:
    return [known[name] for name in names if name in known]


def _around(points: Sequence[Tensor], times: float) -> Square:
    stacked = torch.stack(list(points))
    low, high = stacked.amin(0), stacked.amax(0)
    centre, half = (low + high) / 2, (high - low) / 2 * times
    return centre - half, centre + half


def _square(centre: Tensor, side: Tensor) -> Square:
    return centre - side / 2, centre + side / 2
