"""Surface normals: which way every pixel's surface faces."""

from typing import TYPE_CHECKING

from torch import Tensor

from ..targets.normal_maps import NORMALS_FROM, show_normals
from ..targets.normals_target import NormalsTarget, cosine_of, cosine_to_degrees
from .class_task import mean_answer
from .maps import RECOMMENDED, last_answers
from .task import Comparison, Preview, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo

NEAR = 22.5  # degrees; of the three limits that are usual for normals, the middle one


def normals_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """1 - cosine, averaged over pixels and pictures: minus the target's log-likelihood."""
    return 1 - cosine_of(answer, teacher).mean()


def normals_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): the share of pixels whose normals differ by less than `NEAR` degrees."""
    return (cosine_to_degrees(cosine_of(answer, teacher)) < NEAR).float().mean((1, 2))


def preview_normals(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets."""
    normals, names = last_answers(answers, num)
    target = NormalsTarget(normals)
    return Preview(target, names, show_normals(target, (), "")[0])


NORMALS = Task(
    name="normals",
    answers={"normals": "the direction of the surface: x right, y up, z towards the viewer"},
    shape=(3, "h", "w"),
    targets=(NormalsTarget,),
    model="a normals model",
    target_nodes="Target Depth/Seg Map",
    recommended=RECOMMENDED,
    comparisons={
        "normals": Comparison(
            normals_loss, normals_agreement, f"pixels within {NEAR} degrees", mean_answer
        )
    },
    preview=preview_normals,
    maps=NORMALS_FROM,
)
