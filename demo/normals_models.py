"""Train the demo world's normals guider, and its judge, on clean renders.

`python -m demo.normals_models` trains what is missing, in some eight minutes of one core. The
guider is TIPSv2's network in the Hugging Face layout, small and from nothing, so its x points left
as TIPSv2's does; older releases of transformers do not have it, so it is imported where it is
needed. The judge is a convolutional network that guides nothing.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.clean_models import (
    SMALL_BACKBONE,
    SMALL_NECK,
    Recipe,
    begin,
    half_weights,
    is_trained,
    move,
    relight,
    train_model,
)
from demo.judges import DenseJudge, trained
from demo.normals import scene_normals
from demo.paths import NORMALS_GUIDER, NORMALS_JUDGE
from demo.scenes import render
from ppap_core.atomic import save_safetensors
from ppap_core.targets.normals_target import NormalsTarget, cosine_of

X_LEFT = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
RECIPE = Recipe(seed=0, epochs=3, batch=16, learning_rate=1e-3)
JUDGE_RECIPE = Recipe(seed=1, epochs=3, batch=32, max_noise=0.06)
SCENES, GUIDERS_SEED, JUDGES_SEED, HELDOUT = 8000, 11, 12, (500, 13)
log = logging.getLogger(__name__)

Answer = Callable[[nn.Module, Tensor], Tensor]  # network, image (B, 3, 32, 32) -> its normals


class NormalsJudge(DenseJudge):
    """image (B, 3, 32, 32) in [-1, 1] -> normals (B, 3, 32, 32), from three of the maps."""

    def forward(self, image: Tensor) -> Tensor:
        return F.normalize(super().forward(image).logits, dim=1)


def build_guider() -> nn.Module:
    from transformers import Tipsv2DptConfig, Tipsv2DptForNormalEstimation, Tipsv2VisionConfig

    backbone = Tipsv2VisionConfig(**SMALL_BACKBONE)
    return Tipsv2DptForNormalEstimation(Tipsv2DptConfig(backbone_config=backbone, **SMALL_NECK))


def guider_answer(model: nn.Module, image: Tensor) -> Tensor:
    """Normals (B, 3, 32, 32) of the guider's network, in the pack's axes."""
    normals = model(pixel_values=(image + 1) / 2).normals * X_LEFT
    return F.interpolate(normals, image.shape[-2:], mode="bilinear", antialias=True)


def train(model: nn.Module, answer: Answer, seed: int, recipe: Recipe, name: str) -> None:
    """Minimise 1 - cosine on clean renders."""
    scenes, normals = render(SCENES, seed), scene_normals(SCENES, seed)

    def loss_of(rows: Tensor) -> Tensor:
        image, wanted = move(torch.cat((scenes.pictures(rows), normals[rows]), 1)).split(3, 1)
        return 1 - cosine_of(answer(model, relight(image, recipe.max_noise)), wanted).mean()

    train_model(model, loss_of, SCENES, recipe, name)


def train_missing() -> None:
    if not is_trained(NORMALS_GUIDER):
        from transformers import Tipsv2DptImageProcessor

        torch.manual_seed(RECIPE.seed)
        model = build_guider()
        train(model, guider_answer, GUIDERS_SEED, RECIPE, NORMALS_GUIDER.name)
        model.save_pretrained(NORMALS_GUIDER, state_dict=half_weights(model))
        size = {"height": 32, "width": 32}
        Tipsv2DptImageProcessor(size=size).save_pretrained(NORMALS_GUIDER)
    if not is_trained(NORMALS_JUDGE):
        torch.manual_seed(JUDGE_RECIPE.seed)
        judge = NormalsJudge()
        train(judge, lambda m, image: m(image), JUDGES_SEED, JUDGE_RECIPE, NORMALS_JUDGE.stem)
        save_safetensors(half_weights(judge), NORMALS_JUDGE)


def load_normals_judge() -> NormalsJudge:
    return trained(NormalsJudge(), NORMALS_JUDGE)


@torch.no_grad()
def main() -> None:
    begin(__doc__)
    with torch.enable_grad():
        train_missing()
    from transformers import Tipsv2DptForNormalEstimation

    target, image = NormalsTarget(scene_normals(*HELDOUT)), render(*HELDOUT).pictures()
    guider = Tipsv2DptForNormalEstimation.from_pretrained(NORMALS_GUIDER, dtype=torch.float32)
    for name, found in {
        "guider": guider_answer(guider.eval(), image),
        "judge": load_normals_judge()(image),
    }.items():
        log.info("%s: %.1f degrees", name, target.agreement(found).mean())


if __name__ == "__main__":
    main()
