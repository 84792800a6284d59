"""The picture itself, compared with a reference: no network, so nothing to train."""

from ..targets.contrast_target import ContrastTarget
from ..targets.known_region_target import KnownRegionTarget
from ..targets.low_resolution_target import LowResolutionTarget
from ..targets.palette_target import PaletteTarget
from ..targets.reference_mean_target import ReferenceMeanTarget
from .task import Recommendation, Recommended, Task

LIKENESS = Task(
    name="likeness",
    answers={"picture": "the picture itself, to be compared with a reference"},
    shape=(3, "h", "w"),
    targets=(
        *(LowResolutionTarget, KnownRegionTarget, PaletteTarget, ContrastTarget),
        ReferenceMeanTarget,
    ),
    model="a comparison with a picture",
    target_nodes="Target Likeness",
    recommended=Recommended(
        x_t=Recommendation(0.05),
        x0_hat=Recommendation(0.05),
        through_model=Recommendation(0.05),
        jacobian="none",
    ),
    recommended_for={
        ReferenceMeanTarget: Recommended(
            x_t=Recommendation(0.01),  # that of x0_hat: not measured
            x0_hat=Recommendation(0.01),
            through_model=Recommendation(0.01),
            jacobian="none",
        )
    },
)
