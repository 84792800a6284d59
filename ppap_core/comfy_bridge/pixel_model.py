"""A `PixelUNet` as a ComfyUI MODEL: DDPM-linear noise, pixels in [-1, 1] instead of latents.

Read in ComfyUI 0.30.0: its beta schedule "sqrt_linear" is what DDPM calls linear; BaseModel builds
the network with ComfyUI's own layers, whose weights are not initialised (model_base.py).
"""

import json
from pathlib import Path

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from safetensors import SafetensorError, safe_open

from ..pixel_unet import PixelUNet, PixelUNetConfig

HEADER_KEY = "ppap.pixel_model"
MODEL_TYPES = {
    "eps": comfy.model_base.ModelType.EPS,
    "v": comfy.model_base.ModelType.V_PREDICTION,
}


class _PixelModel(comfy.supported_models_base.BASE):
    unet_config = {}
    unet_extra_config = {}
    latent_format = comfy.latent_formats.ChromaRadiance  # three channels, no scaling
    sampling_settings = {
        "beta_schedule": "sqrt_linear",
        "linear_start": 1e-4,
        "linear_end": 0.02,
        "timesteps": 1000,
    }
    supported_inference_dtypes = [torch.float32]
    memory_usage_factor = 0.2

    def inpaint_model(self):
        return False


def is_pixel_model(path: Path | str) -> bool:
    """Whether `path` is a file that `load_pixel_model` reads."""
    try:
        with safe_open(path, "pt") as file:
            return HEADER_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_pixel_model(path: Path | str):
    """Load a pixel-space diffusion model as MODEL (a ComfyUI model patcher).

    ValueError if the file is no safetensors file of this pack's pixel models.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            config = _read_config(file.metadata() or {})
            weights = {key: file.get_tensor(key).float() for key in file.keys()}
    except (ValueError, SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"pixel model {path.name!r}: {error}") from None
    with torch.inference_mode(False):
        base = _build(config)
        try:
            base.diffusion_model.load_state_dict(weights)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise ValueError(f"pixel model {path.name!r} does not fit: {first}") from None
    return comfy.model_patcher.CoreModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def empty_conditioning():
    """CONDITIONING for a model that reads none."""
    return [[None, {}]]


def _read_config(metadata: dict) -> PixelUNetConfig:
    if HEADER_KEY not in metadata:
        raise ValueError(f"its header has no {HEADER_KEY}: this is no pixel model of this pack")
    return PixelUNetConfig.from_dict(json.loads(metadata[HEADER_KEY]))


def _build(config: PixelUNetConfig):
    model_config = _PixelModel({"config": config})
    model_config.set_inference_dtype(torch.float32, None)
    return comfy.model_base.BaseModel(
        model_config, model_type=MODEL_TYPES[config.prediction], unet_model=PixelUNet
    )
