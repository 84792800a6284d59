"""Edges: where a line would be drawn."""

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from ..targets.edge_maps import EDGES_FROM, show_edges
from ..targets.edges_target import EdgesTarget, f1, reach
from .class_task import mean_tags, tag_loss
from .maps import last_answers
from .task import Comparison, Preview, Recommendation, Recommended, Task

if TYPE_CHECKING:
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo


def edges_agreement(answer: Tensor, teacher: Tensor) -> Tensor:
    """(B,): F1 of what both call edges, within reach of each other."""
    return f1(*((x[:, 0] > 0).float() for x in (teacher, answer)), reach(teacher))


def preview_edges(info: "GuiderInfo", answers: "Rows", num: int) -> Preview:
    """Its own answers, as targets; the strongest edge of each counts fully, however faint it is."""
    odds, names = last_answers(answers, num)
    edges = odds[:, 0].sigmoid()
    target = EdgesTarget(edges / edges.amax((1, 2), keepdim=True))
    return Preview(target, names, show_edges(target, (), "")[0])


EDGES = Task(
    name="edges",
    answers={"edges": "the log-odds of an edge at each pixel (sigmoid)"},
    shape=(1, "h", "w"),
    targets=(EdgesTarget,),
    model="an edge detector",
    target_nodes="Target Depth/Seg Map",
    recommended=Recommended(
        x_t=Recommendation(0.3),
        x0_hat=Recommendation(1.0),
        through_model=Recommendation(1.0),
    ),
    comparisons={
        "edges": Comparison(
            tag_loss,
            edges_agreement,
            "F1 of edges",
            mean_tags,
            shrink=F.adaptive_max_pool2d,  # of thin lines a mean leaves nothing
        ),
    },
    preview=preview_edges,
    maps=EDGES_FROM,
)
