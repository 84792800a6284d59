"""Guiders of the size that people have, with random weights, and something that each is asked."""

from dataclasses import replace

import torch

from evidence.guidance_cost import random_experts
from evidence.guider_cost import build
from evidence.random_guiders import IMAGENET
from ppap_core.guiders import PRESETS, Guider, GuiderInfo
from ppap_core.targets import Target

SEGFORMER = PRESETS["nvidia/segformer-b0-finetuned-ade-512-512"]
GUIDERS = {  # by the name in the table
    "resnet50": PRESETS["timm/resnet50.a1_in1k"],
    "deit_small": PRESETS["timm/deit_small_patch16_224.fb_in1k"],
    "depth_anything_small": PRESETS["depth-anything/Depth-Anything-V2-Small-hf"],
    "segformer_b2": replace(SEGFORMER, repo=SEGFORMER.repo.replace("-b0-", "-b2-")),
    "dpt_large": PRESETS["Intel/dpt-large"],
}


def load_guider(name: str):
    """PPAP_GUIDER with experts; it makes a square of the size that it reads of every picture."""
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    preset = GUIDERS[name]
    torch.manual_seed(0)
    labels = tuple(map(str, range(preset.num_classes)))
    info = GuiderInfo(preset.repo, name, preset.task, labels, "random")
    preprocessing = replace(IMAGENET, size=(preset.reads, preset.reads))
    guider = Guider(build(preset), preprocessing, info)
    return replace(LoadedGuider.of(guider), experts=random_experts(guider))


@torch.no_grad()
def target_for(guider: Guider) -> Target:
    """What the guider itself sees in a picture of noise."""
    picture = torch.rand(1, 3, *guider.preprocessing.size) * 2 - 1
    return guider.info.asks.preview(guider.info, guider(picture), 1).target
