"""Style: statistics of a network's tokens, compared with a reference's, wherever they stand."""

from typing import TYPE_CHECKING

from torch import Tensor

from ..targets.style_target import StyleTarget
from .class_task import mean_answer
from .embedding_task import centred_cosine
from .maps import last_answers
from .task import Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def style_loss(answer: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """What guidance compares: the mean squared difference in deviations of the channels, halved."""
    return -StyleTarget(teacher).log_likelihood(answer).mean()


def preview_styles(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets."""
    statistics, names = last_answers(answers, num)
    return Preview(StyleTarget(statistics), names)


STYLE = Task(
    name="style",
    answers={"statistics": "mean and deviation of each channel, wherever it is seen"},
    shape=("d",),
    targets=(StyleTarget,),
    model="a model of style",
    target_nodes="Target Style",
    recommended=Recommended(
        x_t=Recommendation(0.2),  # that of classes: not measured for styles
        x0_hat=Recommendation(0.4, "half-wiener"),
        through_model=Recommendation(0.2),
        jacobian="none",
    ),
    comparisons={
        "statistics": Comparison(
            style_loss, centred_cosine, "cosine less the mean picture's", mean_answer
        )
    },
    preview=preview_styles,
)
