"""Train the demo world's pose guider, and its judge, on clean renders.

`python -m demo.pose_models` trains what is missing, in some ten minutes of one core. The guider is
ViTPose's network in the Hugging Face layout, small and from nothing; older releases of transformers
do not have it, so it is imported where it is needed. It learns as it will be asked: through its own
preprocessing. The judge is a convolutional network that guides nothing.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.clean_models import Recipe, begin, half_weights, is_trained, relight, train_model
from demo.judges import DenseJudge, trained
from demo.keypoints import JOINTS, scene_keypoints
from demo.paths import POSE_GUIDER, POSE_JUDGE
from demo.scenes import render
from ppap_core.atomic import save_safetensors
from ppap_core.guiders import load_guider
from ppap_core.targets.heatmaps import pixel_points
from ppap_core.targets.pose_target import PoseTarget
from ppap_core.tasks.pose_task import pose_loss

SIDE, PATCH = 64, 8  # pixels; ViTPose's patches overlap the border, which smaller ones do not fit
WIDTH, LAYERS, HEADS = 96, 4, 3
SPREAD = 0.05  # deviation of the Gaussians in heatmaps, as a share of the picture
HEIGHTS = 100.0  # weight of the heatmaps' squared error beside the places' divergence
RECIPE = Recipe(seed=0, epochs=4, batch=32, learning_rate=1e-3)
JUDGE_RECIPE = Recipe(seed=1, epochs=4, batch=32, max_noise=0.06)
SCENES, GUIDERS_SEED, JUDGES_SEED, HELDOUT = 8000, 21, 22, (500, 23)
log = logging.getLogger(__name__)


class PoseJudge(DenseJudge):
    """image (B, 3, 32, 32) in [-1, 1] -> heatmaps (B, J, 32, 32) of `demo.keypoints.JOINTS`."""

    def __init__(self) -> None:
        super().__init__(len(JOINTS))

    def forward(self, image: Tensor) -> Tensor:
        return self.maps(image)


def build_guider() -> nn.Module:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        image_size=[SIDE, SIDE],
        patch_size=[PATCH, PATCH],
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        out_indices=[LAYERS],
    )
    names = dict(enumerate(JOINTS))
    return VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, id2label=names))


def gaussians(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Heatmaps (B, J, h, w), 1 at points (B, J, 2), as Xiao et al. (2018) teach them."""
    squared = (points[:, :, None] - pixel_points(size)).square().sum(-1)
    return (-squared / (2 * SPREAD**2)).exp().unflatten(2, size)


def train(model: nn.Module, seed: int, recipe: Recipe, name: str) -> None:
    """Where each joint is and how high its peak, on clean renders; `model`: images -> heatmaps."""
    scenes, points = render(SCENES, seed), scene_keypoints(SCENES, seed)

    def loss_of(rows: Tensor) -> Tensor:
        found = model(relight(scenes.pictures(rows), recipe.max_noise))
        wanted = gaussians(points[rows], tuple(found.shape[-2:]))
        return pose_loss(found, wanted) + HEIGHTS * F.mse_loss(found, wanted)

    train_model(model, loss_of, SCENES, recipe, name)


def train_guider(folder: Path) -> None:
    """Saved before it has learned, since it is asked through the pack's own loader."""
    from transformers import VitPoseImageProcessor

    torch.manual_seed(RECIPE.seed)
    build_guider().save_pretrained(folder)
    VitPoseImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    guider = load_guider(folder).requires_grad_(True)
    train(guider, GUIDERS_SEED, RECIPE, folder.name)
    network = guider.backbone.model
    network.save_pretrained(folder, state_dict=half_weights(network))


def train_missing() -> None:
    if not is_trained(POSE_GUIDER):
        train_guider(POSE_GUIDER)
    if not is_trained(POSE_JUDGE):
        torch.manual_seed(JUDGE_RECIPE.seed)
        judge = PoseJudge()
        train(judge, JUDGES_SEED, JUDGE_RECIPE, POSE_JUDGE.stem)
        save_safetensors(half_weights(judge), POSE_JUDGE)


def load_pose_judge() -> PoseJudge:
    return trained(PoseJudge(), POSE_JUDGE)


def pose_target(points: Tensor) -> PoseTarget:
    """All joints at `points` (R, J, 2)."""
    return PoseTarget(points, torch.ones(points.shape[:2]))


@torch.no_grad()
def main() -> None:
    begin(__doc__)
    with torch.enable_grad():
        train_missing()
    target, image = pose_target(scene_keypoints(*HELDOUT)), render(*HELDOUT).pictures()
    for name, model in {"guider": load_guider(POSE_GUIDER), "judge": load_pose_judge()}.items():
        log.info("%s: %.1f %% of the joints", name, 100 * target.agreement(model(image)).mean())


if __name__ == "__main__":
    main()
