"""The host's noise levels and ours (read in ComfyUI 0.30.0, model_sampling.py).

A sampler holds states x = alpha x_0 + b eps and calls the model with `sigma`, whose meaning depends
on the model family. Ours is sigma_ve = b / alpha (noise.py).
"""

import comfy.model_sampling
import torch
from torch import Tensor

from ..noise import SIGMA_VE_MAX

WITHOUT_NOISE_LEVEL = ("IMG_TO_IMG", "IMG_TO_IMG_FLOW")


def noise_coefficients(model_sampling, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, b) of x = alpha x_0 + b eps as samplers hold it, for the host's `sigma` (B,).

    Flow models: 1 - sigma, and sigma times their noise scale. All others: 1 and sigma.
    """
    kinds = (getattr(comfy.model_sampling, name, None) for name in WITHOUT_NOISE_LEVEL)
    if isinstance(model_sampling, tuple(kind for kind in kinds if kind)):
        raise ValueError("PPAP guidance needs a noise level; image-to-image models have none")
    if _is_flow(model_sampling):
        return 1 - sigma, sigma * _noise_scale(model_sampling)
    return torch.ones_like(sigma), sigma


def sigma_to_sigma_ve(model_sampling, sigma: Tensor) -> Tensor:
    """The noise level (B,) of states that a sampler calls `sigma` (B,), at most SIGMA_VE_MAX."""
    alpha, b = noise_coefficients(model_sampling, sigma)
    return (b / alpha.clamp(min=1e-8)).clamp(1e-8, SIGMA_VE_MAX)


def sigma_ve_to_sigma(model_sampling, sigma_ve: Tensor) -> Tensor:
    """The host's sigma (B,) of states that have the noise level `sigma_ve` (B,)."""
    if _is_flow(model_sampling):
        return sigma_ve / (_noise_scale(model_sampling) + sigma_ve)
    return sigma_ve


def is_in_interval(model_sampling, sigma: float, start_percent: float, end_percent: float) -> bool:
    """Whether the host's `sigma` lies in this share of its schedule: (end, start]."""
    start, end = (float(model_sampling.percent_to_sigma(p)) for p in (start_percent, end_percent))
    return end < sigma <= start


def _is_flow(model_sampling) -> bool:
    return isinstance(model_sampling, comfy.model_sampling.CONST)


def _noise_scale(model_sampling) -> float:
    return float(getattr(model_sampling, "noise_scale", 1.0))
