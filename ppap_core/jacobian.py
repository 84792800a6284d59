"""The Jacobian of a denoiser, for guiders that look at the denoised estimate.

With log p(y | x_t) taken as log p(y | x0_hat(x_vp)), its gradient in x_vp is J^T g, where g is the
gradient in x0_hat and J = d x0_hat / d x_vp. An ideal denoiser's J is sqrt(1 + sigma_ve^2) /
sigma_ve^2 times the covariance of x_0 given x_t (Tweedie; Efron, 2011): symmetric, so J^T g = J g.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import one_line
from .noise import per_sample
from .out_of_memory import is_out_of_memory
from .spectrum import GENERIC, DataSpectrum
from .strength import norms

Denoiser = Callable[[Tensor], Tensor]
"""x_vp -> the denoised estimate, both (B, ...), at the noise level of the current step."""


class StaleEstimate(Exception):
    """A Denoiser could not make an estimate: some cache would have answered with an earlier one."""


STEP = 0.1
"""Length of the finite difference, in expected norms of the noise: longer ones leave the region
where the denoiser is linear, shorter ones drown in the rounding of half precision."""


def without_jacobian(g: Tensor, x_vp: Tensor, sigma_ve: Tensor, denoised: Tensor, _) -> Tensor:
    """J of data with independent values of variance 1, where it is 1 / sqrt(1 + sigma_ve^2).

    So one guidance scale means the same with and without the Jacobian.
    """
    return g / per_sample((1 + sigma_ve.square()).sqrt(), g)


def finite_difference(
    g: Tensor, x_vp: Tensor, sigma_ve: Tensor, denoised: Tensor, denoise: Denoiser
) -> Tensor:
    """J g from one more evaluation, a step in the direction of g; no autograd in the denoiser."""
    length_of_g = norms(g)
    noise = sigma_ve / (1 + sigma_ve.square()).sqrt()  # of one value of x_vp
    length = STEP * noise * g[0].numel() ** 0.5
    moved = denoise(x_vp + per_sample(length / length_of_g, g) * g)
    return per_sample(length_of_g / length, g) * (moved - denoised)


def backpropagation(
    g: Tensor, x_vp: Tensor, sigma_ve: Tensor, denoised: Tensor, denoise: Denoiser
) -> Tensor:
    """J^T g, exactly, by autograd through one more evaluation of the denoiser.

    ValueError, saying what to choose instead, if autograd does not reach through it.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x_vp = x_vp.detach().clone().requires_grad_(True)
        try:
            return torch.autograd.grad(denoise(x_vp), x_vp, g)[0]
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ValueError(
                f"this model cannot be differentiated ({one_line(error)}): set jacobian to jvp"
            ) from error


def of_stationary_data(
    g: Tensor, x_vp: Tensor, sigma_ve: Tensor, denoised: Tensor, _, spectrum: DataSpectrum = GENERIC
) -> Tensor:
    """J of stationary Gaussian data with this `spectrum`: no pass of the model."""
    return spectrum.jacobian(g, sigma_ve)


JACOBIANS = {
    "none": without_jacobian,
    "jvp": finite_difference,
    "backprop": backpropagation,
    "wiener": of_stationary_data,
}
PASSES_MODEL = ("jvp", "backprop")  # those that take another pass of the model
