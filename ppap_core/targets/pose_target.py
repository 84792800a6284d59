"""Where a pose model should see the joints of a person."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maps import check_rows
from .heatmaps import distance, log_places, pixel_points, read_joints
from .wording import Wording

SIGMA = 0.04  # of the longer side of the picture: a little more than the heatmaps' own Gaussians
ALPHA = 0.1  # of the longer side of the person's box: the strict one of two that are usual


@dataclass(frozen=True, eq=False)
class PoseTarget:
    """Mean over joints of the log-probability that the guider sees them near the wanted points.

    log sum_u p(u) exp(-|u - y|^2 / (2 sigma^2)), where p is the softmax of a joint's heatmap over
    places u (`log_places`), and y the wanted point: 0 where p is certain of y.
    `points`: (R, J, 2), (x, y) in [0, 1] of the picture's width and height; R is 1 or the batch's
    size. `weights`: of the joints, (R, J), 0 where nothing is asked for. `sigma`: a share of the
    picture's longer side.
    """

    points: Tensor
    weights: Tensor
    sigma: float = SIGMA
    task = "pose"
    answer = "heatmap"

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or self.points.shape != (*self.weights.shape, 2):
            raise ValueError(
                f"points are (R, J, 2) and weights (R, J), got {tuple(self.points.shape)} and "
                f"{tuple(self.weights.shape)}"
            )
        if not self.sigma > 0:
            raise ValueError(f"sigma has to be above 0, got {self.sigma}")
        if not (self.points.isfinite().all() and self.weights.isfinite().all()):
            raise ValueError("points and weights of joints have to be finite numbers")
        if not (self.weights >= 0).all() or not (self.weights.sum(1) > 0).all():
            raise ValueError("weights are at least 0, and each picture asks for one joint or more")
        with torch.inference_mode(False), torch.no_grad():
            for name in ("points", "weights"):
                own = getattr(self, name).to("cpu", torch.float32, copy=True)
                object.__setattr__(self, name, own)

    @property
    def num_rows(self) -> int:
        return len(self.points)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: heatmaps (B, J, h, w) -> (B,), in float32."""
        heatmaps, points, weights = self._asked(prediction)
        size = tuple(heatmaps.shape[-2:])
        far = distance(pixel_points(size).to(points), points[:, :, None], size) / self.sigma
        joints = (log_places(heatmaps) - far.square() / 2).logsumexp(dim=2)
        return (joints * weights).sum(1) / weights.sum(1)

    def agreement(self, prediction: Tensor) -> Tensor:
        """The share of the joints that are as asked: (B, J, h, w) -> (B,).

        PCK of Yang and Ramanan (2013): a joint is right if its peak is nearer than ALPHA times the
        longer side of the person's box, here that of the joints asked for, and at least `sigma`.
        """
        heatmaps, points, weights = self._asked(prediction)
        size = tuple(heatmaps.shape[-2:])
        is_asked = (weights > 0)[..., None]
        low = points.masked_fill(~is_asked, torch.inf).amin(1)
        high = points.masked_fill(~is_asked, -torch.inf).amax(1)
        sides = (high - low) * points.new_tensor((size[1], size[0])) / max(size)
        tolerance = (ALPHA * sides.amax(1, keepdim=True)).clamp(min=self.sigma)
        right = (distance(read_joints(heatmaps).points, points, size) <= tolerance).float()
        return (right * weights).sum(1) / weights.sum(1)

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "{} of the joints were as asked, now {}", "joints as asked: {} -> {}", "joints as asked"
        )

    def _asked(self, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heatmaps, points and weights of the joints that any picture asks for."""
        num = self.weights.shape[1]
        if prediction.ndim != 4 or prediction.shape[1] != num:
            raise ValueError(
                f"the target was made for heatmaps (B, {num}, h, w), one for each joint, the "
                f"guider answers {tuple(prediction.shape)}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")
        asked = (self.weights > 0).any(0).nonzero()[:, 0]
        points, weights = (x[:, asked].to(prediction.device) for x in (self.points, self.weights))
        return prediction[:, asked.to(prediction.device)].float(), points, weights
