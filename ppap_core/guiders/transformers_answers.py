"""What the numbers of transformers' depth and normals models mean, and how they become ours."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers.utils import ModelOutput

MIN_DEPTH = 1e-3  # metres
Axes = tuple[int, int, int]
# What turns a model's normals into ours: x right, y up, z towards the viewer. TIPSv2's x points
# left, as in NYU's data: see the pictures in TIPS_decoder_inference.ipynb of google-deepmind/tips.
# Sapiens2's documentation says "camera frame", and no directions: ours are taken.
AXES: dict[str, Axes] = {"sapiens2": (1, 1, 1), "tipsv2_dpt": (-1, 1, 1)}


def read_depth(answer: "ModelOutput", is_metric: bool) -> Tensor:
    """Nearness: of `is_metric` models, which answer in metres, 1 / depth."""
    depth = answer.predicted_depth
    return 1 / depth.clamp(min=MIN_DEPTH) if is_metric else depth


def is_metric(config: dict, folder: Path) -> bool:
    """Whether the network answers in metres; the others answer with inverse depth.

    DepthPro's network answers with inverse depth, and its processor inverts that. DPT is MiDaS
    (inverse depth), except DINOv2's heads (NYU, KITTI: metres), which have a projection.
    """
    kinds = {
        "depth_anything": config.get("depth_estimation_type") == "metric",
        "depth_pro": False,
        "dpt": bool(config.get("add_projection")),
        "glpn": True,
        "zoedepth": True,
    }
    model_type = config["model_type"]
    if model_type not in kinds:
        raise ValueError(
            f"guider {folder.name!r}: whether {model_type!r} answers with depth or with nearness "
            f"is not known to this pack: choose one of {', '.join(kinds)}"
        )
    return kinds[model_type]


def read_normals(answer: "ModelOutput", axes: Axes) -> Tensor:
    """Unit vectors (B, 3, h, w), x right, y up, z towards the viewer."""
    normals = F.normalize(answer.normals, dim=1)
    return normals * normals.new_tensor(axes)[:, None, None]


def axes_of(config: dict, folder: Path) -> Axes:
    """ValueError for a model whose axes are not known."""
    model_type = config["model_type"]
    if model_type not in AXES:
        raise ValueError(
            f"guider {folder.name!r}: which way the axes of {model_type!r} point is not known to "
            f"this pack: choose one of {', '.join(AXES)}"
        )
    return AXES[model_type]
