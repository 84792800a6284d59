"""Train the demo world's detector on clean renders: `python -m demo.box_models`.

It trains what is missing, in some ten minutes of one core. The guider is RT-DETR's network in the
Hugging Face layout, small and from nothing. It names the shape of the one object, and gives the box
around it.
"""

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)

from demo.clean_models import Recipe, begin, half_weights, is_trained, move, relight, train_model
from demo.paths import BOXES_GUIDER
from demo.scenes import Scenes, render
from demo.shading import OBJECT
from demo.shapes import SHAPES
from ppap_core.guiders import load_guider
from ppap_core.targets.boxes import iou, to_centres, to_corners

RECIPE = Recipe(seed=0, epochs=4, batch=32, learning_rate=1e-3)
SCENES, SEED, HELDOUT = 10_000, 21, (500, 13)
SIDE, WIDTH = 64, 64  # pixels that it reads; features
log = logging.getLogger(__name__)


def object_boxes(is_object: Tensor) -> Tensor:
    """Masks (B, H, W) of one object each -> boxes (B, 4) around them: left, top, right, bottom in
    [0, 1]. All 0 where there is none.
    """
    edges = []
    for axis in (1, 2):  # columns, rows
        touched = is_object.any(axis)
        num = touched.shape[1]
        places = torch.arange(num).expand_as(touched)
        low = places.masked_fill(~touched, num).amin(1)
        high = places.masked_fill(~touched, -1).amax(1) + 1
        edges += [low.clamp(max=num) * (high > 0) / num, high / num]
    left, right, top, bottom = edges
    return torch.stack((left, top, right, bottom), 1)


def build_guider() -> RTDetrForObjectDetection:
    widths = [24, 48, 64, 96]
    backbone = RTDetrResNetConfig(
        **{"embedding_size": 24, "hidden_sizes": widths, "depths": [1, 1, 1, 1]},
        **{"layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]},
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        **{"encoder_in_channels": widths[1:], "decoder_in_channels": [WIDTH] * 3},
        **{"encoder_hidden_dim": WIDTH, "d_model": WIDTH, "hidden_expansion": 0.5},
        **{"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "decoder_layers": 2},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},
        **{"num_queries": 10, "num_denoising": 0},
        id2label=dict(enumerate(SHAPES)),
        label2id={name: index for index, name in enumerate(SHAPES)},
    )
    return RTDetrForObjectDetection(config)


def train_guider() -> nn.Module:
    """By the library's own loss: a set loss with Hungarian matching."""
    torch.manual_seed(RECIPE.seed)
    model, scenes = build_guider(), render(SCENES, SEED)

    def loss_of(rows: Tensor) -> Tensor:
        masks = (scenes.segmentation[rows] == OBJECT).float()[:, None]
        image, masks = move(torch.cat((scenes.pictures(rows), masks), 1)).split((3, 1), 1)
        image = F.interpolate(relight(image, RECIPE.max_noise), SIDE, mode="bilinear")
        boxes = to_centres(object_boxes(masks[:, 0] > 0))
        labels = [
            {"class_labels": label[None], "boxes": box[None]}
            for label, box in zip(scenes.label[rows], boxes, strict=True)
        ]
        return model(pixel_values=(image + 1) / 2, labels=labels).loss

    train_model(model, loss_of, SCENES, RECIPE, BOXES_GUIDER.name)
    return model


def train_missing() -> None:
    if not is_trained(BOXES_GUIDER):
        model = train_guider()
        model.save_pretrained(BOXES_GUIDER, state_dict=half_weights(model))
        RTDetrImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(BOXES_GUIDER)


def measure(answer: Tensor, scenes: Scenes) -> tuple[float, float]:
    """Shares of scenes whose shape the surest query names, and the mean IoU of its box."""
    _, query = answer[..., :-4].amax(2).max(1)
    surest = answer[torch.arange(len(answer)), query]
    named = surest[:, :-4].argmax(1) == scenes.label
    wanted = object_boxes(scenes.segmentation == OBJECT)
    return named.float().mean().item(), iou(to_corners(surest[:, -4:]), wanted).mean().item()


@torch.no_grad()
def main() -> None:
    begin(__doc__)
    with torch.enable_grad():
        train_missing()
    scenes = render(*HELDOUT)
    named, overlap = measure(load_guider(BOXES_GUIDER)(scenes.pictures()), scenes)
    log.info("guider: shape %.1f %%, IoU %.3f", 100 * named, overlap)


if __name__ == "__main__":
    main()
