"""The smallest settings of each family by which ComfyUI still recognises it.

Read in model_detection.py of ComfyUI 0.30.0. Families whose detection fixes their width have no
file: they are built from ComfyUI's classes.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Family:
    """`config`: the class in comfy.supported_models. `unet`: the settings of its network.

    `stored`: the folder whose loader reads the file, "checkpoints" or "diffusion_models"; "" for a
    family without a file. `context`, `pooled`: widths of the conditioning. `is_masked`: whether the
    conditioning has an attention mask.
    """

    config: str
    unet: dict
    context: int
    stored: str = ""
    pooled: int = 0
    is_masked: bool = False


# fmt: off
# Settings that belong together share a line.
SD_UNET = {
    "use_checkpoint": False, "image_size": 32, "use_spatial_transformer": True,
    "legacy": False, "in_channels": 4, "out_channels": 4, "model_channels": 320,
    "use_temporal_resblock": False, "use_temporal_attention": False, "channel_mult": [1],
    "transformer_depth_middle": -2,
}
SD_ONE_LEVEL = {
    **SD_UNET,
    "num_res_blocks": [1], "transformer_depth": [1], "transformer_depth_output": [0, 0],
    "adm_in_channels": None,
}
FLUX = {
    "axes_dim": [16, 56, 56], "num_heads": 1, "mlp_ratio": 4.0, "hidden_size": 128,
    "patch_size": 2, "depth": 1, "depth_single_blocks": 1, "qkv_bias": True,
}
FLUX_DEV = {
    **FLUX,
    "image_model": "flux", "theta": 10000, "in_channels": 16, "out_channels": 16,
    "context_in_dim": 32, "vec_in_dim": 32, "yak_mlp": False, "txt_norm": False,
    "txt_ids_dims": [],
}
HUNYUAN = {
    **FLUX,
    "image_model": "hunyuan_video", "context_in_dim": 64, "theta": 256, "meanflow": False,
    "meanflow_sum": False, "byt5": False, "guidance_embed": False, "vision_in_dim": None,
    "use_cond_type_embedding": False,
}
CHROMA = {
    **FLUX,
    "image_model": "chroma", "in_channels": 64, "out_channels": 64, "theta": 10000,
    "context_in_dim": 32, "in_dim": 64, "out_dim": 128, "hidden_dim": 64,
    "n_layers": 1, "txt_ids_dims": [], "vec_in_dim": 0,
}
LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "cap_feat_dim": 32,
    "n_layers": 1, "n_refiner_layers": 1, "qk_norm": True, "axes_lens": [300, 512, 512],
}
Z_IMAGE = {
    **LUMINA,
    "dim": 256, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [32, 48, 48],
    "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True,
    "time_scale": 1000.0,
}
WAN = {
    "image_model": "wan2.1", "dim": 128, "in_dim": 16, "out_dim": 16, "num_heads": 1,
    "ffn_dim": 64, "num_layers": 1, "patch_size": (1, 2, 2), "freq_dim": 256,
    "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6,
    "model_type": "t2v",
}
FAMILIES = {
    "SD15": Family("SD15", stored="checkpoints", context=768, unet={
        **SD_ONE_LEVEL, "context_dim": 768, "use_linear_in_transformer": False,
    }),
    # KOALA: the smallest network of SDXL's kind.
    "SDXL": Family("KOALA_700M", stored="checkpoints", context=2048, pooled=1280, unet={
        **SD_UNET,
        "num_res_blocks": [3], "transformer_depth": [0, 2, 5], "context_dim": 2048,
        "transformer_depth_output": [0] * 4, "use_linear_in_transformer": True,
        "adm_in_channels": 2816, "num_classes": "sequential",
    }),
    "SD3": Family("SD3", stored="diffusion_models", context=64, pooled=2048, unet={
        "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 1,
        "input_size": None, "adm_in_channels": 2048, "num_patches": 256,
        "pos_embed_max_size": 16, "pos_embed_scaling_factor": None,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": 64, "out_features": 64},
        },
        "x_block_self_attn_layers": [],
    }),
    "Flux": Family("Flux", stored="diffusion_models", context=32, pooled=32, unet={
        **FLUX_DEV, "guidance_embed": True,
    }),
    "FluxSchnell": Family("FluxSchnell", stored="diffusion_models", context=32, pooled=32, unet={
        **FLUX_DEV, "guidance_embed": False,
    }),
    "Flux2": Family("Flux2", stored="diffusion_models", context=32, unet={
        **FLUX,
        "image_model": "flux2", "axes_dim": [32] * 4, "mlp_ratio": 3.0, "theta": 2000,
        "in_channels": 128, "out_channels": 128, "patch_size": 1, "context_in_dim": 32,
        "vec_in_dim": None, "global_modulation": True, "mlp_silu_act": True,
        "qkv_bias": False, "ops_bias": False, "txt_ids_dims": [3], "guidance_embed": True,
        "default_ref_method": "index", "ref_index_scale": 10.0, "yak_mlp": False,
        "txt_norm": False,
    }),
    "Wan21": Family("WAN21_T2V", stored="diffusion_models", context=4096, unet=WAN),
    "HunyuanVideo": Family("HunyuanVideo", stored="diffusion_models", context=64, pooled=768, unet={
        **HUNYUAN,
        "patch_size": [1, 2, 2], "in_channels": 16, "out_channels": 16, "vec_in_dim": 768,
    }),
    "HunyuanImage21": Family("HunyuanImage21", stored="diffusion_models", context=64, unet={
        **HUNYUAN,
        "axes_dim": [64, 64], "patch_size": [1, 1], "in_channels": 64, "out_channels": 64,
        "vec_in_dim": None,
    }),
    "LTXV": Family("LTXV", stored="diffusion_models", context=4096, is_masked=True, unet={
        "image_model": "ltxv", "num_layers": 1, "attention_head_dim": 4,
        "cross_attention_dim": 128,
    }),
    "Cosmos": Family("CosmosT2V", context=32, unet={
        "image_model": "cosmos", "max_img_h": 240, "max_img_w": 240, "max_frames": 128,
        "in_channels": 16, "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1,
        "model_channels": 128, "num_blocks": 1, "num_heads": 1, "pos_emb_cls": "rope3d",
        "block_config": "FA-CA-MLP", "block_x_format": "THWBD", "affline_emb_norm": True,
        "use_adaln_lora": True, "adaln_lora_dim": 16, "crossattn_emb_channels": 32,
        "extra_per_block_abs_pos_emb": True, "extra_per_block_abs_pos_emb_type": "learnable",
    }),
    "StableCascade": Family("Stable_Cascade_C", context=32, pooled=32, unet={
        "stable_cascade_stage": "c", "c_cond": 32, "c_hidden": [32, 32], "nhead": [1, 1],
        "blocks": [[1, 1], [1, 1]], "c_clip_text": 32, "c_clip_text_pooled": 32,
    }),
    "Chroma": Family("Chroma", context=32, unet=CHROMA),
    "ChromaRadiance": Family("ChromaRadiance", context=32, unet={
        **CHROMA,
        "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3,
        "patch_size": 16, "nerf_hidden_size": 16, "nerf_mlp_ratio": 2, "nerf_depth": 1,
        "nerf_max_freqs": 8, "nerf_tile_size": 512, "nerf_final_head_type": "conv",
        "nerf_embedder_dtype": torch.float32, "use_x0": False,
        "use_sequential_txt_ids": False,
    }),
    "Lumina2": Family("Lumina2", context=32, unet={
        **LUMINA,
        "dim": 48, "n_heads": 2, "n_kv_heads": 1, "axes_dims": [8, 8, 8],
        "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0,
    }),
    "ZImage": Family("ZImage", context=32, unet=Z_IMAGE),
    "ZImagePixelSpace": Family("ZImagePixelSpace", context=32, unet={
        **Z_IMAGE,
        "image_model": "zimage_pixel", "in_channels": 3, "patch_size": 8,
        "decoder_hidden_size": 32, "decoder_num_res_blocks": 1,
    }),
    "QwenImage": Family("QwenImage", context=32, unet={
        "image_model": "qwen_image", "in_channels": 64, "num_layers": 1,
        "num_attention_heads": 1, "joint_attention_dim": 32,
    }),
    "Wan22": Family("WAN22_T2V", stored="diffusion_models", context=4096, unet={
        **WAN, "in_dim": 48, "out_dim": 48,
    }),
    "SD20": Family("SD20", stored="checkpoints", context=1024, unet={
        **SD_ONE_LEVEL, "context_dim": 1024, "use_linear_in_transformer": True,
    }),
}
# fmt: on
