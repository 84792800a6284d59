"""Guiders' folders in the hub's layout, of every library: small networks, random weights."""

import json

import timm
import torch
import transformers
from safetensors.torch import save_file
from timm.data import resolve_data_config
from torchvision import models

from demo.tokenizer import END, PAD, START, build_tokenizer

HALF = [0.5] * 3

# architecture -> arguments that make it small. The first few run every time.
QUICK_TIMM = {
    "resnet18": {"channels": (8, 16, 24, 32)},
    "deit_tiny_patch16_224": {"depth": 2, "img_size": 64},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "nf_resnet26": {},
}
SLOW_TIMM = {
    "resnet50": {},
    "resnet50_gn": {},
    "resnext26ts": {},
    "resnetv2_50x1_bit": {},
    "seresnet33ts": {},
    "densenet121": {},
    "vgg11_bn": {},
    "vit_tiny_patch16_224": {"depth": 3},
    "deit_tiny_distilled_patch16_224": {"depth": 3},
    "deit3_small_patch16_224": {"depth": 3},
    "beit_base_patch16_224": {"depth": 2},
    "beitv2_base_patch16_224": {"depth": 2},
    "eva02_tiny_patch14_224": {"depth": 2},
    "cait_xxs24_224": {"depth": 2},
    "xcit_nano_12_p16_224": {"depth": 2},
    "convnextv2_atto": {},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 2, 1)},
    "swinv2_tiny_window8_256": {"depths": (1, 1, 2, 1)},
    "maxvit_pico_rw_256": {},
    "coatnet_nano_rw_224": {},
    "efficientnet_b0": {},
    "tf_efficientnet_lite0": {},
    "efficientnetv2_rw_t": {},
    "mobilenetv2_100": {},
    "mobilenetv3_small_100": {},
    "mobilenetv4_conv_small": {},
    "mobilevitv2_050": {},
    "regnety_002": {},
    "dm_nfnet_f0": {},
    "eca_nfnet_l0": {},
    "levit_128s": {},
    "mixer_s32_224": {},
    "poolformer_s12": {},
    "pvt_v2_b0": {},
    "repvgg_a0": {},
    "hrnet_w18_small": {},
    "fastvit_t8": {},
    "edgenext_xx_small": {},
    "inception_v3": {},
}
DEEP = ("efficientnetv2_rw_t",)


def vit(**settings):
    small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 32}
    return small | {"intermediate_size": 64, "patch_size": 8} | settings


def dinov2():
    return transformers.Dinov2Config(
        **vit(patch_size=4, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, mlp_ratio=2)
    )


DPT_HEAD = {"neck_hidden_sizes": [8, 12, 16, 16], "fusion_hidden_size": 8}
SEGFORMER = {
    **{"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16},
    **{"num_attention_heads": [1, 2, 2, 4]},
}


def depth_anything(**settings):
    return transformers.DepthAnythingConfig(
        backbone_config=dinov2(), patch_size=4, reassemble_hidden_size=32, **DPT_HEAD, **settings
    )


LIVELY = {"initializer_range": 0.2}  # deeper than norms can make up for: gradients underflow


def dpt(**settings):
    return transformers.DPTConfig(
        **vit(image_size=64),
        is_hybrid=False,
        backbone_out_indices=[0, 1, 2, 3],
        **DPT_HEAD,
        **LIVELY,
    )


def upernet():
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_channels=8, pool_scales=[1, 2]
    )


def beit():
    return transformers.BeitConfig(
        **vit(image_size=64, patch_size=16), out_indices=[1, 2, 3, 4], num_labels=5
    )


def zoedepth():
    """Its relative depth network is a BEiT."""
    backbone = transformers.BeitConfig(
        **vit(image_size=64, patch_size=16),
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        use_relative_position_bias=True,
        add_fpn=False,
    )
    return transformers.ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=32,
        **DPT_HEAD,
        bottleneck_features=8,
        num_relative_features=4,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )


QUERIES = {
    **{"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_queries": 10},
    **{"encoder_feedforward_dim": 32, "dim_feedforward": 32, "encoder_layers": 1},
    **{"decoder_layers": 2, "num_attention_heads": 2},
}


def swin():
    return transformers.SwinConfig(
        **{"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]},
        **{"window_size": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
    )


def depth_pro():
    vision = {"model_type": "dinov2", **vit(image_size=64, patch_size=16, mlp_ratio=2)}
    return transformers.DepthProConfig(
        **{"fusion_hidden_size": 16, "patch_size": 64, "initializer_range": 0.2},
        **{"intermediate_hook_ids": [3, 1], "intermediate_feature_dims": [16, 8]},
        **{"scaled_images_ratios": [0.25, 0.5, 1], "scaled_images_overlap_ratios": [0.0, 0.5, 0.2]},
        **{"scaled_images_feature_dims": [16, 16, 8], "use_fov_model": False},
        **{"image_model_config": vision, "patch_model_config": vision},
        fov_model_config=vision,
    )


def sapiens2():
    head = transformers.Sapiens2HeadConfig(
        **{"upsample_out_channels": [16, 16, 12, 8], "use_pixel_shuffle": True},
        **{"conv_out_channels": [8], "conv_kernel_sizes": [3]},
    )
    small = vit(image_size=[64, 48], patch_size=16, num_labels=3, initializer_range=0.2)
    layers = {"num_first_full_attention_layers": 1, "num_last_full_attention_layers": 1}
    return transformers.Sapiens2Config(
        **small, **layers, num_key_value_attention_heads=2, head_config=head
    )


def tipsv2():
    backbone = transformers.Tipsv2VisionConfig(
        **{"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 2},
        **{"image_size": 64, "patch_size": 8, "initializer_range": 0.2},
        **{"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False},
    )
    return transformers.Tipsv2DptConfig(backbone_config=backbone, **DPT_HEAD)


def vitpose(**experts):
    backbone = transformers.VitPoseBackboneConfig(
        **vit(image_size=[64, 48], patch_size=[16, 16], mlp_ratio=2, initializer_range=0.2),
        **{"out_indices": [4], **experts},
    )
    return transformers.VitPoseConfig(
        backbone_config=backbone, initializer_range=0.2, num_labels=17
    )


DETR = {
    **{"d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32},
    **{"decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
    **{"num_queries": 10, "init_std": 0.2, "num_labels": 4},
}


def detr(kind, stages=1):
    """One of the DETRs, which reads the last `stages` of its backbone."""
    backbone = transformers.ResNetConfig(
        **{"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        **{"layer_type": "basic", "out_features": [f"stage{i}" for i in range(5 - stages, 5)]},
    )
    config = getattr(transformers, f"{kind}Config")
    return config(**DETR, backbone_config=backbone, use_timm_backbone=False, backbone=None)


RT_DETR = {
    **{"encoder_hidden_dim": 32, "d_model": 32, "decoder_in_channels": [32] * 3},
    **{"num_queries": 10, "num_labels": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    "initializer_range": 0.2,
    **{"decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
}


def rt_detr(kind):
    """An RT-DETR or RT-DETRv2."""
    widths = [8, 16, 24, 32]
    backbone = transformers.RTDetrResNetConfig(
        **{"embedding_size": 8, "hidden_sizes": widths, "depths": [1, 1, 1, 1]},
        **{"layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]},
    )
    config = getattr(transformers, f"{kind}Config")
    return config(**RT_DETR, backbone_config=backbone, encoder_in_channels=widths[1:])


def d_fine():
    backbone = transformers.HGNetV2Config(
        **{"stem_channels": [3, 8, 8], "stage_in_channels": [8, 12, 16, 24]},
        **{"stage_mid_channels": [8, 8, 12, 16], "stage_out_channels": [12, 16, 24, 32]},
        **{"stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4, "depths": [1] * 4},
        **{"stage_downsample": [False, True, True, True], "stage_kernel_size": [3] * 4},
        **{"stage_light_block": [False, False, True, True], "hidden_sizes": [12, 16, 24, 32]},
        out_features=["stage2", "stage3", "stage4"],
    )
    return transformers.DFineConfig(
        **RT_DETR, backbone_config=backbone, encoder_in_channels=[16, 24, 32]
    )


def yolos():
    small = vit(image_size=[64, 96], num_labels=4, initializer_range=0.2)
    return transformers.YolosConfig(
        **small, num_detection_tokens=10, use_mid_position_embeddings=False
    )


def size(side):
    return {"size": {"height": side, "width": side}}


# model class: config, image processor, whether nearness is 1 / the network's own depth
TRANSFORMERS = {
    "DepthAnythingForDepthEstimation": (
        depth_anything,
        "DPTImageProcessor",
        {"keep_aspect_ratio": True, "ensure_multiple_of": 4, **size(32)},
        False,
    ),
    "DPTForDepthEstimation": (
        dpt,
        "DPTImageProcessor",
        size(64),
        False,
    ),
    "DPTForSemanticSegmentation": (dpt, "DPTImageProcessor", size(64), False),
    "GLPNForDepthEstimation": (
        lambda: transformers.GLPNConfig(**SEGFORMER),
        "GLPNImageProcessor",
        {},
        True,
    ),
    "ZoeDepthForDepthEstimation": (
        zoedepth,
        "ZoeDepthImageProcessor",
        {"keep_aspect_ratio": False, "ensure_multiple_of": 32, **size(64)},
        True,
    ),
    "SegformerForSemanticSegmentation": (
        lambda: transformers.SegformerConfig(**SEGFORMER, num_labels=7),
        "SegformerImageProcessor",
        size(64),
        False,
    ),
    "UperNetForSemanticSegmentation": (upernet, "SegformerImageProcessor", size(64), False),
    "BeitForSemanticSegmentation": (beit, "BeitImageProcessor", size(64), False),
    "MobileNetV2ForSemanticSegmentation": (
        lambda: transformers.MobileNetV2Config(num_labels=4, depth_multiplier=0.35, image_size=64),
        "MobileNetV2ImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}},
        False,
    ),
    "Mask2FormerForUniversalSegmentation": (
        lambda: transformers.Mask2FormerConfig(backbone_config=swin(), **QUERIES, num_labels=5),
        "Mask2FormerImageProcessor",
        {"size": {"shortest_edge": 64, "longest_edge": 1024}, "size_divisor": 32},
        False,
    ),
    "MaskFormerForInstanceSegmentation": (
        lambda: transformers.MaskFormerConfig(
            backbone_config=swin(),
            decoder_config=transformers.DetrConfig(
                **{"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2},
                **{"decoder_ffn_dim": 32, "num_queries": 10},
            ),
            **{"fpn_feature_size": 32, "mask_feature_size": 32, "num_labels": 4},
        ),
        "MaskFormerImageProcessor",
        {"size": {"shortest_edge": 64, "longest_edge": 1024}, "size_divisor": 32},
        False,
    ),
    "DepthProForDepthEstimation": (depth_pro, "DepthProImageProcessor", size(256), False),
    "MobileViTForSemanticSegmentation": (
        lambda: transformers.MobileViTConfig(
            hidden_sizes=[16, 20, 24],
            neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
            aspp_out_channels=16,
            **LIVELY,
            num_labels=3,
        ),
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
        False,
    ),
    "ViTForImageClassification": (
        lambda: transformers.ViTConfig(**vit(num_labels=6)),
        "ViTImageProcessor",
        size(32),
        False,
    ),
}
PERSON = {"size": {"height": 64, "width": 48}}
if hasattr(transformers, "AutoModelForNormalEstimation"):  # not for Python 3.10
    TRANSFORMERS |= {
        "VitPoseForPoseEstimation": (vitpose, "VitPoseImageProcessor", PERSON, False),
        "Sapiens2ForPoseEstimation": (sapiens2, "Sapiens2ImageProcessor", PERSON, False),
        "Sapiens2ForNormalEstimation": (
            sapiens2,
            "Sapiens2ImageProcessor",
            {"size": {"height": 64, "width": 48}, "do_pad": True},
            False,
        ),
        "Tipsv2DptForNormalEstimation": (tipsv2, "Tipsv2DptImageProcessor", size(64), False),
    }
EDGES = {"size": {"shortest_edge": 64, "longest_edge": 96}}
DETECTORS = {
    "DetrForObjectDetection": (lambda: detr("Detr"), "DetrImageProcessor", EDGES, False),
    "ConditionalDetrForObjectDetection": (
        lambda: detr("ConditionalDetr"),
        "ConditionalDetrImageProcessor",
        EDGES,
        False,
    ),
    "DeformableDetrForObjectDetection": (
        lambda: detr("DeformableDetr", stages=3),
        "DeformableDetrImageProcessor",
        EDGES,
        False,
    ),
    "YolosForObjectDetection": (yolos, "YolosImageProcessor", EDGES, False),
    "RTDetrForObjectDetection": (
        lambda: rt_detr("RTDetr"),
        "RTDetrImageProcessor",
        size(64),
        False,
    ),
}
if hasattr(transformers, "DFineConfig"):  # not in older releases
    DETECTORS |= {
        "RTDetrV2ForObjectDetection": (
            lambda: rt_detr("RTDetrV2"),
            "RTDetrImageProcessor",
            size(64),
            False,
        ),
        "DFineForObjectDetection": (d_fine, "RTDetrImageProcessor", size(64), False),
    }
TRANSFORMERS |= DETECTORS
QUICK_TRANSFORMERS = ("GLPNForDepthEstimation", "UperNetForSemanticSegmentation")
TORCHVISION = ("resnet18", "vit_b_32", "lraspp_mobilenet_v3_large")


def fill_zero_matrices(model):
    """Some heads start at zero, and no gradient comes through."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)


def calm_norms(model):
    """With untrained norms so deep a network blows up: rounding decides its answers."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 0.5)


def timm_folder(folder, name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **(QUICK_TIMM | SLOW_TIMM)[name])
    fill_zero_matrices(model)
    if name in DEEP:
        calm_norms(model)
    folder.mkdir()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    settings = (QUICK_TIMM | SLOW_TIMM)[name]
    config = {"architecture": name, "num_classes": 5, "model_args": settings}
    keys = ("mean", "std", "interpolation", "crop_pct", "crop_mode", "input_size")
    data = resolve_data_config({}, model=model)
    if "img_size" in settings:
        data["input_size"] = (3, settings["img_size"], settings["img_size"])
    config["pretrained_cfg"] = {key: data[key] for key in keys}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def transformers_folder(folder, name):
    torch.manual_seed(0)
    build, processor, settings, _ = TRANSFORMERS[name]
    getattr(transformers, name)(build()).save_pretrained(folder)
    getattr(transformers, processor)(image_mean=HALF, image_std=HALF, **settings).save_pretrained(
        folder
    )
    return folder


def torchvision_folder(folder, name):
    torch.manual_seed(0)
    folder.mkdir()
    settings = {"weights_backbone": None} if name.startswith("lraspp") else {}
    model = models.get_model(name, weights=None, num_classes=21, **settings)
    fill_zero_matrices(model)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"torchvision": name, "num_classes": 21}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def picture(height, width):
    generator = torch.Generator().manual_seed(height + width)
    return torch.rand(1, 3, height, width, generator=generator)


def clip_parts(**vision):
    """Both towers' settings, as CLIPConfig and SiglipConfig take them."""
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"intermediate_size": 64}
    tokens = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    text = {**small, "vocab_size": 16, "max_position_embeddings": 8, **tokens}
    return {"text_config": text, "vision_config": vit(**small, image_size=32, **vision)}


def clip():
    return transformers.CLIPConfig(**clip_parts(), projection_dim=24)


EMBEDDING = {  # model class: config, image processor with its settings
    "CLIPModel": (
        clip,
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "CLIPVisionModelWithProjection": (
        lambda: transformers.CLIPVisionConfig(**vit(), projection_dim=24),
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "SiglipModel": (
        lambda: transformers.SiglipConfig(**clip_parts()),
        "SiglipImageProcessor",
        size(32),
    ),
    "Dinov2Model": (
        dinov2,
        "BitImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
    ),
    "DINOv3ViTModel": (
        lambda: transformers.DINOv3ViTConfig(**vit()),
        "DINOv3ViTImageProcessor",
        size(32),
    ),
}
WORDS = "a red blue cone cube floor on the green".split()


def embedding_folder(folder, name):
    """With a tokenizer of WORDS where the model reads words; SigLIP's scale and bias as trained."""
    torch.manual_seed(0)
    build, processor, settings = EMBEDDING[name]
    model = getattr(transformers, name)(build())
    fill_zero_matrices(model)
    if name == "SiglipModel":
        model.logit_scale.data.fill_(4.7)
        model.logit_bias.data.fill_(-16.5)
    model.save_pretrained(folder)
    getattr(transformers, processor)(image_mean=HALF, image_std=HALF, **settings).save_pretrained(
        folder
    )
    if hasattr(model, "logit_scale"):
        build_tokenizer(WORDS, 8).save_pretrained(folder)
    return folder


def owl_folder(folder):
    """OWLv2, with a tokenizer of WORDS."""
    torch.manual_seed(0)
    parts = clip_parts(patch_size=16)
    parts["vision_config"]["image_size"] = 64
    model = transformers.Owlv2ForObjectDetection(
        transformers.Owlv2Config(**parts, projection_dim=32)
    )
    fill_zero_matrices(model)
    model.save_pretrained(folder)
    transformers.Owlv2ImageProcessor(**size(64)).save_pretrained(folder)
    build_tokenizer(WORDS, 8).save_pretrained(folder)
    return folder
