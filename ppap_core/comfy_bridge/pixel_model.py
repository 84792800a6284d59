"""A `PixelUNet` as a ComfyUI MODEL: DDPM-linear noise, pixels in [-1, 1] instead of latents.

Read in ComfyUI 0.30.0: its beta schedule "sqrt_linear" is what DDPM calls linear; BaseModel builds
the network with ComfyUI's own layers, whose weights are not initialised (model_base.py).
"""

import json
from pathlib import Path
from pickle import UnpicklingError

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from safetensors import SafetensorError, safe_open

from ..adm import TELLING, is_adm, read_adm
from ..atomic import load_safetensors
from ..errors import one_line
from ..pickles import read_pickle
from ..pixel_unet import PixelUNet, PixelUNetConfig

HEADER_KEY = "ppap.pixel_model"
PICKLED = (".pt", ".pth")  # read with weights_only: tensors, no code
UNREADABLE = (OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError)
MODEL_TYPES = {
    "eps": comfy.model_base.ModelType.EPS,
    "v": comfy.model_base.ModelType.V_PREDICTION,
}


class PixelModelConfig(comfy.supported_models_base.BASE):
    """What ComfyUI has to know of this family of models."""

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

    def inpaint_model(self) -> bool:
        return False


class _ClassConditional(comfy.model_base.BaseModel):
    """Reads class indices (B,) from CONDITIONING's "class_labels"; without them: no class."""

    def extra_conds(self, **kwargs) -> dict:
        labels = kwargs.get("class_labels", torch.tensor([-1]))
        return super().extra_conds(**kwargs) | {"y": comfy.conds.CONDRegular(labels)}


def is_pixel_model(path: Path | str) -> bool:
    """Whether `path` is a file that `load_pixel_model` reads."""
    try:
        if Path(path).suffix in PICKLED:
            return is_adm(read_pickle(path))
        with safe_open(path, "pt") as file:
            telling = {key: file.get_tensor(key) for key in TELLING.intersection(file.keys())}
            return HEADER_KEY in (file.metadata() or {}) or is_adm(telling)
    except UNREADABLE:
        return False


def load_pixel_model(
    path: Path | str, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """Load a pixel-space diffusion model as MODEL.

    Reads this pack's safetensors files, and guided-diffusion's checkpoints (ADM) in safetensors or
    pickled. `disable_dynamic`: as ComfyUI asks when it loads a MODEL again, for another device say.
    ValueError, in one line, for anything else.
    """
    path = Path(path)
    try:
        config, weights = _read(path)
    except (ValueError, *UNREADABLE) as error:
        raise ValueError(f"pixel model {path.name!r}: {one_line(error)}") from None
    with torch.inference_mode(False):
        base = _build(config)
        try:
            base.diffusion_model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"pixel model {path.name!r}: its weights do not fit its config: {one_line(error)}"
            ) from None
    patchers = comfy.model_patcher
    patcher = (patchers.ModelPatcher if disable_dynamic else patchers.CoreModelPatcher)(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    patcher.cached_patcher_init = load_pixel_model, (path,)
    return patcher


def empty_conditioning(**values: torch.Tensor) -> list[list]:
    """CONDITIONING without a prompt. `class_labels`: (B,), for a model with classes."""
    return [[None, values]]


def _read(path: Path) -> tuple[PixelUNetConfig, dict[str, torch.Tensor]]:
    """The config and the weights, in float32. ValueError if the file is of neither kind."""
    metadata, weights = {}, {}
    if path.suffix in PICKLED:
        weights = read_pickle(path)
    else:
        metadata, weights = load_safetensors(path)
    if HEADER_KEY in metadata:
        config = PixelUNetConfig.from_dict(json.loads(metadata[HEADER_KEY]))
        return config, {key: value.float() for key, value in weights.items()}
    if is_adm(weights):
        return read_adm(weights)
    raise ValueError(
        f"its header has no {HEADER_KEY} and its weights are not ADM's: this is no pixel model"
    )


def _build(config: PixelUNetConfig) -> comfy.model_base.BaseModel:
    model_config = PixelModelConfig({"config": config})
    model_config.set_inference_dtype(torch.float32, None)
    kind = _ClassConditional if config.num_classes else comfy.model_base.BaseModel
    return kind(model_config, model_type=MODEL_TYPES[config.prediction], unet_model=PixelUNet)
