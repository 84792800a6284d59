"""What each guider that can be downloaded costs: `python -m evidence.guider_cost`.

Writes docs/evidence/guiders.md. Every network is built with random weights and the published
settings; a step's cost is one forward and one backward pass to the picture, for one picture of the
size that the guider reads, in processor time on one core. ResNet50's is 1.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn

from evidence.flags import add_output
from evidence.tables import markdown
from ppap_core.guiders import PRESETS, Preset
from ppap_core.guiders.embedding_guider import EmbeddingModel
from ppap_core.guiders.transformers_guider import HEADS, TransformersModel

REFERENCE = "timm/resnet50.a1_in1k"
DEPTH_ANYTHING = {  # hidden size, layers, heads, layers that are read, widths of the neck
    "Small": (384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": (768, 12, 12, (9, 10, 11, 12), (96, 192, 384, 768), 128),
    "large": (1024, 24, 16, (21, 22, 23, 24), (256, 512, 1024, 1024), 256),
}


def build_depth_anything(preset: Preset) -> nn.Module:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    size = next(name for name in DEPTH_ANYTHING if name in preset.repo)
    hidden, layers, heads, read, widths, fused = DEPTH_ANYTHING[size]
    backbone = Dinov2Config(
        **{"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads},
        **{"image_size": 518, "patch_size": 14, "reshape_hidden_states": False},
        **{"out_indices": list(read), "apply_layernorm": True},
    )
    config = DepthAnythingConfig(
        **{"backbone_config": backbone, "reassemble_hidden_size": hidden, "patch_size": 14},
        **{"neck_hidden_sizes": list(widths), "fusion_hidden_size": fused},
    )
    return DepthAnythingForDepthEstimation(config)


def build_dpt(preset: Preset) -> nn.Module:
    from transformers import DPTConfig, DPTForDepthEstimation

    return DPTForDepthEstimation(
        DPTConfig(
            **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
            **{"intermediate_size": 4096, "backbone_out_indices": [5, 11, 17, 23]},
            **{"neck_hidden_sizes": [256, 512, 1024, 1024]},
        )
    )


def build_vit(preset: Preset) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(num_labels=preset.num_classes))


def build_segformer(preset: Preset) -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=preset.num_classes))


def build_upernet(preset: Preset) -> nn.Module:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(
        **{"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]},
        **{"out_features": [f"stage{i}" for i in range(1, 5)]},
    )
    config = UperNetConfig(
        backbone_config=backbone, num_labels=preset.num_classes, auxiliary_in_channels=384
    )
    return UperNetForSemanticSegmentation(config)


def build_mask2former(preset: Preset) -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        **{"depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "embed_dim": 96},
        **{"window_size": 7, "out_features": [f"stage{i}" for i in range(1, 5)]},
    )
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=preset.num_classes)
    return Mask2FormerForUniversalSegmentation(config)


def build_dinov2(preset: Preset) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    return EmbeddingModel(Dinov2Model(Dinov2Config(image_size=518, patch_size=14)))


def build_clip(preset: Preset) -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    return EmbeddingModel(CLIPModel(CLIPConfig()))


def build_siglip2(preset: Preset) -> nn.Module:
    from transformers import SiglipConfig, SiglipModel

    return EmbeddingModel(SiglipModel(SiglipConfig(text_config={"vocab_size": 256_000})))


def build_vitpose(preset: Preset) -> nn.Module:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(image_size=[preset.reads, preset.reads], out_indices=[12])
    config = VitPoseConfig(backbone_config=backbone, num_labels=preset.num_classes)
    return VitPoseForPoseEstimation(config)


def build_rt_detr(preset: Preset) -> nn.Module:
    from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    widths = [64, 128, 256, 512]
    backbone = RTDetrResNetConfig(
        **{"layer_type": "basic", "hidden_sizes": widths, "depths": [2, 2, 2, 2]},
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrV2Config(
        **{"backbone_config": backbone, "encoder_in_channels": widths[1:], "decoder_layers": 3},
        **{"hidden_expansion": 0.5, "num_labels": preset.num_classes},
    )
    return RTDetrV2ForObjectDetection(config)


def build_d_fine(preset: Preset) -> nn.Module:
    """Nano: two levels, of a HGNetV2-B0."""
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

    backbone = HGNetV2Config(
        **{"stem_channels": [3, 16, 16], "stage_in_channels": [16, 64, 256, 512]},
        **{"stage_mid_channels": [16, 32, 64, 128], "stage_out_channels": [64, 256, 512, 1024]},
        **{"stage_num_blocks": [1, 1, 2, 1], "stage_numb_of_layers": [3] * 4},
        **{"stage_downsample": [False, True, True, True], "stage_kernel_size": [3, 3, 5, 5]},
        **{"stage_light_block": [False, False, True, True], "depths": [1, 1, 2, 1]},
        **{"hidden_sizes": [64, 256, 512, 1024], "out_features": ["stage3", "stage4"]},
        use_learnable_affine_block=True,
    )
    config = DFineConfig(
        **{"backbone_config": backbone, "encoder_in_channels": [512, 1024], "depth_mult": 0.5},
        **{"encoder_hidden_dim": 128, "d_model": 128, "hidden_expansion": 0.34},
        **{"encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "decoder_layers": 3},
        **{"decoder_in_channels": [128, 128], "decoder_n_points": [6, 6]},
        **{"feat_strides": [16, 32], "encode_proj_layers": [1], "num_feature_levels": 2},
        num_labels=preset.num_classes,
    )
    return DFineForObjectDetection(config)


BUILDERS: dict[str, Callable[[Preset], nn.Module]] = {  # by a part of the repository's name
    "epth-": build_depth_anything,
    "dpt": build_dpt,
    "nsfw": build_vit,
    "segformer": build_segformer,
    "upernet": build_upernet,
    "mask2former": build_mask2former,
    "dinov2": build_dinov2,
    "CLIP": build_clip,
    "siglip2": build_siglip2,
    "vitpose": build_vitpose,
    "rtdetr": build_rt_detr,
    "dfine": build_d_fine,
}


def build(preset: Preset) -> nn.Module:
    """The network of `preset` with random weights: pixels (1, 3, h, w) -> its answer."""
    if "timm" in preset.repo:
        name = preset.repo.partition("/")[2].partition(".")[0]
        return timm.create_model(name, num_classes=preset.num_classes)
    if "tagger" in preset.repo:
        return timm.create_model("vit_base_patch16_224", img_size=448, num_classes=10861)
    kind = next(part for part in BUILDERS if part in preset.repo)
    network = BUILDERS[kind](preset)
    if isinstance(network, EmbeddingModel):
        return network
    head = next(head for head in HEADS if head.task.name == preset.task)
    return TransformersModel(network, head)


def step_seconds(network: nn.Module, size: int, repeats: int) -> float:
    """Median processor seconds of an answer and of its gradient, after one warm-up.

    Processor time, because others may use the machine.
    """
    network.eval().requires_grad_(False)

    def step() -> float:
        begin = time.process_time()
        pixels = torch.rand(1, 3, size, size, requires_grad=True)
        torch.autograd.grad(network(pixels).float().std(), pixels)
        return time.process_time() - begin

    return statistics.median([step() for _ in range(repeats + 1)][1:])


def measure(preset: Preset, repeats: int) -> tuple[int, float]:
    """Bytes of the weights, and seconds of a step."""
    torch.manual_seed(0)
    network = build(preset)
    weights = {t.data_ptr(): t for t in network.state_dict().values()}  # layers may share some
    num_bytes = sum(t.numel() * t.element_size() for t in weights.values())
    return num_bytes, step_seconds(network, preset.reads, repeats)


def row(preset: Preset, num_bytes: int, cost: float) -> dict[str, str]:
    """`cost`: in steps of the reference."""
    return {
        "guider": preset.repo,
        "task": preset.task,
        "classes": str(preset.num_classes or ""),
        "good for": preset.good_for,
        "reads": f"{preset.reads} x {preset.reads}",
        "MB": f"{num_bytes / 1e6:.0f}",
        "a step, x ResNet50's": f"{cost:.2g}",
        "licence": preset.licence,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    add_output(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found, rows = {REFERENCE: measure(PRESETS[REFERENCE], args.repeats)}, []
    reference = found[REFERENCE][1]
    for preset in PRESETS.values():
        num_bytes, spent = found.get(preset.repo) or measure(preset, args.repeats)
        gc.collect()
        rows.append(row(preset, num_bytes, spent / reference))
        sys.stdout.write(markdown(rows[-1:]).splitlines()[-1] + "\n")
        sys.stdout.flush()
    write_page(rows, args.output / "guiders.md")


def write_page(rows: list[dict[str, str]], path: Path) -> None:
    path.write_text(markdown(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
