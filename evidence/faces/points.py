"""The task "points": where the points of a face are. Registered as another pack would do it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ppap_core.targets.wording import Wording
from ppap_core.tasks import Recommendation, Recommended, Task

SIDE = 40  # pixels of a face
SIGMA = 0.02  # of a point, in shares of a side


@dataclass(frozen=True, eq=False)
class PointsTarget:
    """Gaussians around `points` (N, P, 2): x and y in shares of the sides; a mean over points."""

    points: Tensor
    task = "points"

    def log_likelihood(self, answer: Tensor) -> Tensor:
        """(B, P, 2) -> (B,)."""
        squared = (answer - self.points.to(answer.device)).square().sum(dim=2)
        return -squared.mean(dim=1) / (2 * SIGMA**2)

    def agreement(self, answer: Tensor) -> Tensor:
        """The mean distance in pixels: (B, P, 2) -> (B,)."""
        distance = torch.linalg.vector_norm(answer - self.points.to(answer.device), dim=2)
        return SIDE * distance.mean(dim=1)

    def wording(self, labels: tuple[str, ...]) -> Wording:
        return Wording(
            "points were {} pixels away, now {}",
            "points are {} -> {} pixels away",
            "distance of points (pixels)",
            is_share=False,
            has_end=False,
        )


EACH = Recommendation(0.3)
POINTS = Task(
    name="points",
    answers={"shares": "x and y of each point, in shares of the picture's sides"},
    shape=("p", 2),
    targets=(PointsTarget,),
    model="a finder of points",
    target_nodes="no node of this pack",
    recommended=Recommended(x_t=EACH, x0_hat=EACH, through_model=EACH),
)
