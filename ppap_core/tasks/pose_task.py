"""Pose: where the joints of a person are."""

import math
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from ..targets.heatmaps import SHARPNESS, distance, log_places, read_joints
from ..targets.pose_drawing import draw_poses
from ..targets.pose_target import PoseTarget
from .maps import last_answers
from .task import CLASSES, Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo

NEAR = 0.1  # of the picture's longer side
SURE = 0.3  # the height of a peak from which pose models usually show a joint


def pose_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of where each joint is, averaged over joints and pictures; in nats."""
    wanted = log_places(teacher / temperature)
    kl = F.kl_div(log_places(answer), wanted, reduction="none", log_target=True)
    return kl.sum(dim=2).mean()


def pose_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): the share of joints whose peaks are nearer than `NEAR` to each other."""
    size = tuple(teacher.shape[-2:])
    a, b = (read_joints(heatmaps).points for heatmaps in (answer, teacher))
    return (distance(a, b, size) <= NEAR).float().mean(1)


def mean_places(teacher: Tensor, temperature: float) -> Tensor:
    """Heatmaps whose softmax is the mean of the teacher's."""
    logs = log_places(teacher / temperature)
    mean = logs.logsumexp(dim=0, keepdim=True) - math.log(len(logs))
    return mean.unflatten(2, teacher.shape[-2:]) / SHARPNESS


def preview_poses(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets: the joints that it is sure of, or all if there are none."""
    heatmaps, names = last_answers(answers, num)
    joints = read_joints(heatmaps)
    sure = joints.scores >= SURE
    target = PoseTarget(joints.points, (sure | ~sure.any(1, keepdim=True)).float())
    height, width = heatmaps.shape[-2:]
    maps = draw_poses(target.points[:, None], target.weights[:, None], info.labels, (width, height))
    return Preview(target, names, maps)


POSE = Task(
    name="pose",
    answers={"heatmap": "a heatmap for each, of the person in the picture or in a box"},
    shape=(CLASSES, "h", "w"),
    targets=(PoseTarget,),
    model="a pose model",
    target_nodes="Target Pose",
    recommended=Recommended(
        x_t=Recommendation(0.3),  # that of other maps: not measured for poses
        x0_hat=Recommendation(0.2, "half-white"),
        through_model=Recommendation(0.2, "half-white"),
        fading=Recommendation(1.0, "half-white", "fade late"),
        fades_alone=True,
        experts_jacobian="jvp",
    ),
    comparisons={
        "heatmap": Comparison(
            pose_loss, pose_agreement, f"joints within {NEAR:.0%} of the picture", mean_places
        )
    },
    preview=preview_poses,
    label_names=("joint", "joints"),
)
