"""Train the demo world's depth and segmentation guiders, and their judge, on clean renders.

`python -m demo.dense_models` trains what is missing. The guiders are transformers networks in the
Hugging Face layout: Depth Anything (a DINOv2 backbone with a DPT head) and SegFormer, both small
and from nothing. Weights are shipped in float16; float32 is restored on loading.
"""

import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    PreTrainedModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from demo.clean_models import Recipe, halves, move, relight, train_model
from demo.judges import Dense, DenseJudge
from demo.measures import aligned_rmse, intersection_over_union, judge_answer, nearness_of
from demo.paths import DENSE_JUDGE, DEPTH_GUIDER, SEGMENTATION_GUIDER
from demo.scene_files import load_heldout_scenes, load_training_scenes
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from ppap_core.atomic import save_safetensors

PIXELS = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
# Small batches: after 1400 steps of 64 SegFormer had mIoU 0.92, after 3700 of 32 it had 0.98.
RECIPES = {
    DEPTH_GUIDER: Recipe(seed=0, epochs=2, batch=16, learning_rate=1e-3),
    SEGMENTATION_GUIDER: Recipe(seed=0, epochs=4, batch=32),
    DENSE_JUDGE: Recipe(seed=1, max_noise=0.06),
}

log = logging.getLogger(__name__)


def build_depth_guider() -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(
        image_size=32,
        patch_size=4,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        mlp_ratio=3,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=4,
        reassemble_hidden_size=96,
        reassemble_factors=[2, 1, 0.5, 0.25],
        neck_hidden_sizes=[32, 48, 64, 64],
        fusion_hidden_size=32,
        head_hidden_size=16,
    )
    model = DepthAnythingForDepthEstimation(config)
    nn.init.constant_(model.head.conv3.bias, 0.5)  # a ReLU follows: start where it is alive
    return model


def build_segmentation_guider() -> SegformerForSemanticSegmentation:
    config = SegformerConfig(
        hidden_sizes=[24, 48, 96, 128],
        num_attention_heads=[1, 2, 3, 4],
        sr_ratios=[4, 2, 1, 1],
        strides=[2, 2, 2, 2],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=64,
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        id2label=dict(enumerate(SEGMENTS)),
        label2id={name: index for index, name in enumerate(SEGMENTS)},
    )
    return SegformerForSemanticSegmentation(config)


def depth_answer(model: nn.Module, image: Tensor) -> Tensor:
    return model(pixel_values=image).predicted_depth


def segmentation_answer(model: nn.Module, image: Tensor) -> Tensor:
    """Logits (B, 3, 32, 32): SegFormer's, at half that size, are resized as its own loss does."""
    return resized(model(pixel_values=image).logits, image)


def resized(maps: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(maps, image.shape[-2:], mode="bilinear", align_corners=False)


def random_batch(scenes: Scenes, rows: Tensor, max_noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Image, nearness and segments of `rows`, shifted together at random; the image is relit."""
    maps = torch.cat(
        (
            scenes.pictures(rows),
            nearness_of(scenes.depth[rows])[:, None],
            scenes.segmentation[rows].float()[:, None],
        ),
        1,
    )
    image, nearness, segments = move(maps).split((3, 1, 1), 1)
    image = relight(image, max_noise).contiguous(memory_format=torch.channels_last)
    return image, nearness[:, 0], segments[:, 0].long()


def depth_loss(model: nn.Module, scenes: Scenes, rows: Tensor) -> Tensor:
    image, nearness, _ = random_batch(scenes, rows, 0.0)
    return F.l1_loss(depth_answer(model, image), nearness)


def segmentation_loss(model: nn.Module, scenes: Scenes, rows: Tensor) -> Tensor:
    image, _, segments = random_batch(scenes, rows, 0.0)
    return F.cross_entropy(segmentation_answer(model, image), segments)


def judge_loss(judge: nn.Module, scenes: Scenes, max_noise: float, rows: Tensor) -> Tensor:
    image, nearness, segments = random_batch(scenes, rows, max_noise)
    answer = judge(image)
    return 10 * F.l1_loss(answer.nearness, nearness) + F.cross_entropy(answer.logits, segments)


def in_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}


def save_guider(model: PreTrainedModel, processor, folder: Path) -> None:
    """The file holds float16; config.json says float32, so that loaders restore it."""
    model.save_pretrained(folder, state_dict=in_half(model.state_dict()))
    processor.save_pretrained(folder)


def train_depth_guider(scenes: Scenes, recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    model = build_depth_guider()
    loss_of = partial(depth_loss, model, scenes)
    train_model(model, loss_of, len(scenes), recipe, DEPTH_GUIDER.name)
    save_guider(
        model,
        DPTImageProcessor(keep_aspect_ratio=True, ensure_multiple_of=4, **PIXELS),
        DEPTH_GUIDER,
    )


def train_segmentation_guider(scenes: Scenes, recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    model = build_segmentation_guider()
    loss_of = partial(segmentation_loss, model, scenes)
    train_model(model, loss_of, len(scenes), recipe, SEGMENTATION_GUIDER.name)
    save_guider(model, SegformerImageProcessor(**PIXELS), SEGMENTATION_GUIDER)


def train_dense_judge(scenes: Scenes, recipe: Recipe) -> None:
    torch.manual_seed(recipe.seed)
    judge = DenseJudge()
    loss_of = partial(judge_loss, judge, scenes, recipe.max_noise)
    train_model(judge, loss_of, len(scenes), recipe, DENSE_JUDGE.stem)
    save_safetensors(in_half(judge.state_dict()), DENSE_JUDGE)


def train_missing() -> None:
    guiders = {DEPTH_GUIDER: train_depth_guider, SEGMENTATION_GUIDER: train_segmentation_guider}
    missing = [folder for folder in guiders if not (folder / "config.json").exists()]
    if not missing and DENSE_JUDGE.exists():
        return
    first, second = halves(load_training_scenes())
    for folder in missing:
        guiders[folder](first, RECIPES[folder])
    if not DENSE_JUDGE.exists():
        train_dense_judge(second, RECIPES[DENSE_JUDGE])


def load_networks() -> tuple[PreTrainedModel, PreTrainedModel]:
    """The depth and the segmentation guider by transformers' own loader, in float32."""
    depth = DepthAnythingForDepthEstimation.from_pretrained(DEPTH_GUIDER, dtype=torch.float32)
    segmentation = SegformerForSemanticSegmentation.from_pretrained(
        SEGMENTATION_GUIDER, dtype=torch.float32
    )
    return depth.eval(), segmentation.eval()


@torch.no_grad()
def guiders_answer(image: Tensor) -> Dense:
    """What both guiders say of image (B, 3, 32, 32) in [-1, 1]."""
    depth, segmentation = load_networks()
    parts = image.split(250)
    return Dense(
        torch.cat([depth_answer(depth, part) for part in parts]),
        torch.cat([segmentation_answer(segmentation, part) for part in parts]),
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    train_missing()
    heldout = load_heldout_scenes()
    image = heldout.pictures()
    for name, answer in {"guiders": guiders_answer(image), "judge": judge_answer(image)}.items():
        rmse = aligned_rmse(answer.nearness, nearness_of(heldout.depth)).mean()
        iou = intersection_over_union(answer.logits.argmax(1), heldout.segmentation)
        per_class = ", ".join(f"{n} {v:.3f}" for n, v in zip(SEGMENTS, iou, strict=True))
        log.info("%s: aligned RMSE %.4f, mIoU %.3f (%s)", name, rmse, iou.mean(), per_class)


if __name__ == "__main__":
    main()
