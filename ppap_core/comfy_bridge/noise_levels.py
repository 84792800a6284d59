"""The host's noise levels and ours (read in ComfyUI 0.30.0, model_sampling.py).

A sampler holds states x = alpha x_0 + b eps and calls the model with `sigma`, whose meaning depends
on the model family. Ours is sigma_ve = b / alpha (noise.py).
"""

import comfy.model_sampling
import torch
from torch import Tensor

from ..noise import SIGMA_VE_MAX


def noise_coefficients(model_sampling, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, b) of x = alpha x_0 + b eps as samplers hold it, for the host's `sigma` (B,).

    Flow models: 1 - sigma, and sigma times their noise scale. All others: 1 and sigma.
    """
    if _is_image_to_image(model_sampling):
        raise ValueError(
            f"PPAP guidance needs a noise level; this model has none: its sampling "
            f"({type(model_sampling).__name__}) turns one image into another without noise"
        )
    if _is_flow(model_sampling):
        return 1 - sigma, sigma * _noise_scale(model_sampling)
    return torch.ones_like(sigma), sigma


def norm_of_states(model_sampling, sigma: Tensor) -> Tensor:
    """c (B,) of x = c x_vp, for states x as samplers hold them at the host's `sigma` (B,)."""
    alpha, b = noise_coefficients(model_sampling, sigma)
    return (alpha.square() + b.square()).sqrt()


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


def _is_image_to_image(model_sampling) -> bool:
    """Whether states hold no noise of strength sigma. New hosts add more such kinds.

    Either sampling adds no noise to the image that it begins with, or the model gets states as they
    are at every sigma, which only states of constant size allow, and its answer is the estimate.
    """
    sigma, zero, one = (torch.full((1, 1), value) for value in (0.5, 0.0, 1.0))
    if not torch.count_nonzero(model_sampling.noise_scaling(sigma[0], one.clone(), zero)):
        return True
    answers = (model_sampling.calculate_denoised(sigma[0], one, x) for x in (zero, one))
    if _is_flow(model_sampling) or not torch.equal(*answers):
        return False
    return torch.equal(model_sampling.calculate_input(sigma[0], one), one)


def _is_flow(model_sampling) -> bool:
    return isinstance(model_sampling, comfy.model_sampling.CONST)


def _noise_scale(model_sampling) -> float:
    return float(getattr(model_sampling, "noise_scale", 1.0))
