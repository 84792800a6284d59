"""Train the demo world's depth and segmentation guiders, and their judge, on clean renders.

`python -m demo.dense_models` trains what is missing. The guiders are transformers networks in the
Hugging Face layout: Depth Anything (a DINOv2 backbone with a DPT head) and SegFormer, both small
and from nothing. Weights are shipped in float16; float32 is restored on loading.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from demo.clean_models import (
    SMALL_BACKBONE,
    SMALL_NECK,
    Recipe,
    begin,
    half_weights,
    halves,
    is_trained,
    move,
    relight,
    train_model,
)
from demo.judges import Dense, DenseJudge
from demo.measures import aligned_rmse, intersection_over_union, judge_answer, nearness_of
from demo.paths import DENSE_JUDGE, DEPTH_GUIDER, SEGMENTATION_GUIDER
from demo.scene_files import load_heldout_scenes, load_training_scenes
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from ppap_core.atomic import save_safetensors

PIXELS = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
log = logging.getLogger(__name__)


def build_depth_guider() -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(**SMALL_BACKBONE)
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=4,
        reassemble_hidden_size=96,
        **SMALL_NECK,
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
    logits = model(pixel_values=image).logits
    return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)


def random_batch(scenes: Scenes, rows: Tensor, max_noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Image, nearness and segments of `rows`, shifted together at random; the image is relit."""
    nearness = nearness_of(scenes.depth[rows])[:, None]
    segments = scenes.segmentation[rows].float()[:, None]
    maps = move(torch.cat((scenes.pictures(rows), nearness, segments), 1))
    image, nearness, segments = maps.split((3, 1, 1), 1)
    image = relight(image, max_noise).contiguous(memory_format=torch.channels_last)
    return image, nearness[:, 0], segments[:, 0].long()


def depth_loss(model: nn.Module, image: Tensor, nearness: Tensor, _: Tensor) -> Tensor:
    return F.l1_loss(depth_answer(model, image), nearness)


def segmentation_loss(model: nn.Module, image: Tensor, _: Tensor, segments: Tensor) -> Tensor:
    return F.cross_entropy(segmentation_answer(model, image), segments)


def judge_loss(judge: nn.Module, image: Tensor, nearness: Tensor, segments: Tensor) -> Tensor:
    answer = judge(image)
    return 10 * F.l1_loss(answer.nearness, nearness) + F.cross_entropy(answer.logits, segments)


DEPTH_RECIPE = Recipe(seed=0, epochs=2, batch=16, learning_rate=1e-3)
# Small batches: after 1400 steps of 64 SegFormer had mIoU 0.92, after 3700 of 32 it had 0.98.
SEGMENTATION_RECIPE = Recipe(seed=0, epochs=4, batch=32)
MODELS = {  # folder or file: network, loss, recipe
    DEPTH_GUIDER: (build_depth_guider, depth_loss, DEPTH_RECIPE),
    SEGMENTATION_GUIDER: (build_segmentation_guider, segmentation_loss, SEGMENTATION_RECIPE),
    DENSE_JUDGE: (DenseJudge, judge_loss, Recipe(seed=1, max_noise=0.06)),
}


def train_network(path: Path, scenes: Scenes) -> nn.Module:
    """The network of MODELS[path], trained on `scenes`."""
    build, loss, recipe = MODELS[path]
    torch.manual_seed(recipe.seed)
    model = build()

    def loss_of(rows: Tensor) -> Tensor:
        return loss(model, *random_batch(scenes, rows, recipe.max_noise))

    train_model(model, loss_of, len(scenes), recipe, path.stem)
    return model


def save_network(model: nn.Module, path: Path) -> None:
    """The file holds float16; a guider's config.json says float32, so that loaders restore it."""
    weights = half_weights(model)
    if path == DENSE_JUDGE:
        return save_safetensors(weights, path)
    model.save_pretrained(path, state_dict=weights)
    if path == DEPTH_GUIDER:
        processor = DPTImageProcessor(keep_aspect_ratio=True, ensure_multiple_of=4, **PIXELS)
    else:
        processor = SegformerImageProcessor(**PIXELS)
    processor.save_pretrained(path)


def train_missing() -> None:
    missing = [path for path in MODELS if not is_trained(path)]
    if missing:
        for_guiders, for_judge = halves(load_training_scenes())
    for path in missing:
        scenes = for_judge if path == DENSE_JUDGE else for_guiders
        save_network(train_network(path, scenes), path)


@torch.no_grad()
def guiders_answer(image: Tensor) -> Dense:
    """What both guiders, by transformers' own loader, say of image (B, 3, 32, 32) in [-1, 1]."""
    depth = DepthAnythingForDepthEstimation.from_pretrained(DEPTH_GUIDER, dtype=torch.float32)
    segmentation = SegformerForSemanticSegmentation.from_pretrained(
        SEGMENTATION_GUIDER, dtype=torch.float32
    )
    parts = image.split(250)
    return Dense(
        torch.cat([depth_answer(depth, part) for part in parts]),
        torch.cat([segmentation_answer(segmentation, part) for part in parts]),
    )


def main() -> None:
    begin(__doc__)
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
