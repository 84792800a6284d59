"""ComfyUI's own CLIP Vision models as guiders: the same embeddings, and a gradient."""

import pytest
import torch

COMMON = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "num_channels": 3}
TINY = {
    "clip_vision_model": {
        **{"image_size": 28, "patch_size": 14, "intermediate_size": 64, "projection_dim": 24},
        **{"hidden_act": "gelu", "layer_norm_eps": 1e-5},
    },
    "dinov2": {
        **{"image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6, "use_swiglu_ffn": False},
        **{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    },
    "dinov3": {
        **{"image_size": 32, "patch_size": 16, "num_register_tokens": 4, "intermediate_size": 64},
        **{"layer_norm_eps": 1e-5, "rope_theta": 100.0, "use_gated_mlp": True},
        **{"gated_mlp_act": "silu"},
    },
    "siglip_vision_model": {
        **{"image_size": 28, "patch_size": 14, "intermediate_size": 64, "layer_norm_eps": 1e-5},
        "hidden_act": "gelu_pytorch_tanh",
    },
}


def tiny(kind):
    """What Load CLIP Vision gives, small and with random weights."""
    from comfy.clip_vision import ClipVisionModel

    made = ClipVisionModel(COMMON | TINY[kind] | {"model_type": kind})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in made.model.parameters():
            values.copy_(torch.randn(values.shape, generator=generator) * 0.1)
    return made


def embedding_of(clip_vision, picture):
    """The host's own, of picture (B, H, W, 3) in [0, 1]."""
    if clip_vision.model_type != "dinov3":
        return clip_vision.encode_image(picture)["image_embeds"]
    from comfy.clip_model import clip_preprocess

    settings = {"mean": clip_vision.image_mean, "std": clip_vision.image_std}
    pixels = clip_preprocess(picture, size=clip_vision.image_size, **settings)
    with torch.no_grad():  # encode_image fails in the host: its DINOv3 says its tokens alone
        return clip_vision.model(pixel_values=pixels)[0][:, 0]


@pytest.mark.parametrize("kind", ["clip_vision_model", "dinov2", "dinov3"])
def test_it_answers_what_the_hosts_own_nodes_do(call, demo_model, kind):
    clip_vision = tiny(kind)
    loaded, info = call("PPAP_ClipVisionGuider", clip_vision)
    picture = torch.rand(2, 48, 64, 3, generator=torch.Generator().manual_seed(1))
    expected = embedding_of(clip_vision, picture)
    place = next(loaded.guider.parameters()).device
    found = loaded.guider(picture.movedim(-1, 1).to(place) * 2 - 1).cpu()
    cosine = torch.nn.functional.cosine_similarity(found, expected.float().cpu())
    assert cosine.min() > 0.999  # the host rounds resized pixels to 8 bits
    assert "an embedding" in info
    target, _ = call("PPAP_TargetWords", loaded, "", "", image=picture[:1])
    model, empty = demo_model
    latent, guided = call(
        "PPAP_GuidedKSampler",
        **{"model": model, "positive": empty, "negative": empty, "seed": 5, "cfg": 1.0},
        **{"steps": 2, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0},
        **{"guider": loaded, "target": target},
        latent_image={"samples": torch.zeros(1, 3, 32, 32)},
    )
    assert "guided 2 of 2 steps" in call("PPAP_GuidanceReport", guided, latent, 3)[2]


def test_experts_know_it_in_any_precision(call):
    clip_vision = tiny("clip_vision_model")
    full = call("PPAP_ClipVisionGuider", clip_vision)[0].guider.info.fingerprint
    clip_vision.model.half()
    assert call("PPAP_ClipVisionGuider", clip_vision)[0].guider.info.fingerprint == full


def test_a_siglip_without_its_embedding_is_refused(call):
    with pytest.raises(ValueError, match="socket clip_vision has a siglip_vision_model, of which"):
        call("PPAP_ClipVisionGuider", tiny("siglip_vision_model"))
