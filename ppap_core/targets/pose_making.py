"""A pose target from joints, fitted to the picture that is to be made."""

from collections.abc import Sequence

import torch

from .heatmaps import Joints
from .keypoints import Size
from .map_target import Frame, MapTarget
from .pose_drawing import draw_poses
from .pose_target import PoseTarget
from .wording import listed

MOST_NAMES = 6


def build_pose_target(
    labels: Sequence[str],
    joints: Joints,
    sizes: Sequence[Size],
    confidence: float,
    frame: Frame,
    note: str = "",
) -> MapTarget:
    """`joints` of `labels`, of R pictures of `sizes` (width, height), as a target with its preview.

    Nothing is asked of joints that are less than `confidence` sure, or outside the picture.
    ValueError, in one line, if nothing is left of a picture.
    """
    fitted = [fit_points(joints.points[i], size, frame) for i, size in enumerate(sizes)]
    points = torch.stack([points for points, _ in fitted])
    sure = (joints.scores >= confidence) & (joints.scores > 0)
    asked = sure & ((points >= 0) & (points <= 1)).all(dim=2)
    for number, row in enumerate(asked, 1):
        if not row.any():
            raise ValueError(
                f"picture {number} has no joint inside the picture that is {confidence:g} sure "
                f"(the highest is {joints.scores[number - 1].max().item():.2g}): lower the widget "
                f"confidence, or connect a picture or pose with one person who is in view"
            )
    target = PoseTarget(points.clamp(0, 1), asked.float())
    preview = draw_poses(target.points, target.weights, labels, fitted[0][1])
    rows = f"{len(points)} picture{'s' * (len(points) > 1)}"
    counts = ", ".join(map(str, asked.sum(1).tolist()))
    info = f"pose target for {rows}: {counts} of {len(labels)} joints"
    if left := [name for name, used in zip(labels, asked.any(0).tolist(), strict=True) if not used]:
        info += f"\nnot asked for: {listed(left, 'and', most=MOST_NAMES)}"
    return MapTarget(target, preview, "\n".join(filter(None, (info, note))))


def fit_points(points: torch.Tensor, size: Size, frame: Frame) -> tuple[torch.Tensor, Size]:
    """Points (J, 2) of a picture of `size`, in one of the frame's proportions; and its size.

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
