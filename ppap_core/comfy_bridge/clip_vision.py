"""ComfyUI's own CLIP Vision models as guiders (read in ComfyUI 0.30.0, comfy/clip_vision.py).

Its networks have the weights, and the names, of transformers' own. These are built from them, since
ComfyUI's may use an attention without a backward pass, and a DINOv3 that answers with no embedding.
"""

import torch

from ..guiders import Guider, Preprocessing, check_by_trial, fingerprint
from ..guiders.embedding_guider import embedding_guider
from ..guiders.transformers_model import build_model

KINDS = {  # ComfyUI's model_type: transformers' classes of its settings and of its network
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModelWithProjection"),
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "dinov3": ("DINOv3ViTConfig", "DINOv3ViTModel"),
}
OURS = ("model_type", "image_mean", "image_std")  # entries that transformers' settings do not have


def guider_of_clip_vision(clip_vision) -> Guider:
    """`clip_vision` (CLIP_VISION) as a guider that answers with an embedding.

    Its fingerprint is that of the weights in half precision: ComfyUI keeps them in that of the
    device, and experts fit on any. ValueError, in one line, for SigLIP, whose pooling ComfyUI
    leaves out, and for others that transformers does not have.
    """
    import transformers

    kind = clip_vision.model_type
    if kind not in KINDS:
        raise ValueError(
            f"the socket clip_vision has a {kind}, of which ComfyUI keeps no embedding: load a "
            f"CLIP Vision or a DINO, or this model's folder with Load Off-the-shelf Guider"
        )
    config_class, network = KINDS[kind]
    settings = {name: value for name, value in clip_vision.config.items() if name not in OURS}
    with torch.inference_mode(False):
        weights = {
            name: v.detach().to("cpu", copy=True) for name, v in clip_vision.get_sd().items()
        }
    model = build_model(network, getattr(transformers, config_class)(**settings), weights)
    side = clip_vision.image_size
    preprocessing = Preprocessing(
        size=(side, side),
        mean=tuple(clip_vision.image_mean),
        std=tuple(clip_vision.image_std),
        interpolation="bicubic",
        floor_crop=True,
    )
    of_half = fingerprint({name: value.half() for name, value in weights.items()})
    guider = embedding_guider(model, f"comfyui/{kind}", preprocessing, of_half)
    check_by_trial(guider, kind)
    return guider
