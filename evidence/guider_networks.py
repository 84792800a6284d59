"""The networks of presets (ppap_core/guiders/presets.py), by their published settings."""

from collections.abc import Callable

from torch import nn

from ppap_core.guiders import Preset
from ppap_core.guiders.embedding_guider import EmbeddingModel

DEPTH_ANYTHING = {  # hidden size, layers, heads, layers that are read, widths of the neck
    "Small": (384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": (768, 12, 12, (9, 10, 11, 12), (96, 192, 384, 768), 128),
    "large": (1024, 24, 16, (21, 22, 23, 24), (256, 512, 1024, 1024), 256),
}

SEGFORMER_B2 = {  # transformers' own settings are B0's
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "decoder_hidden_size": 768,
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

    size = SEGFORMER_B2 if "segformer-b2" in preset.repo else {}
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=preset.num_classes, **size))


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
