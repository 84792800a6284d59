"""One denoised estimate of a diffusion model, through all that ComfyUI does for a sampler's call.

Read in ComfyUI 0.30.0 (samplers.py, CFGGuider): conditioning, model patches and memory are the
host's; a `Sampler` that asks once takes the place of the sampling loop.
"""

import comfy.samplers
import torch
from torch import Tensor

from ..noise import per_sample
from .noise_levels import noise_coefficients, sigma_ve_to_sigma


class _AskOnce(comfy.samplers.Sampler):
    def __init__(self, x_0: Tensor, sigma_ve: Tensor, eps: Tensor):
        self.x_0, self.sigma_ve, self.eps = x_0, sigma_ve, eps
        self.denoised = x_0

    def sample(self, model_wrap, sigmas, extra_args, *_, **__):
        model_sampling = model_wrap.inner_model.model_sampling
        sigma = sigma_ve_to_sigma(model_sampling, self.sigma_ve)
        alpha, b = (per_sample(c, self.x_0) for c in noise_coefficients(model_sampling, sigma))
        self.denoised = model_wrap(alpha * self.x_0 + b * self.eps, sigma, **extra_args)
        return self.denoised


class Denoiser:
    """(x_0, sigma_ve, eps) -> the model's estimate of x_0 from x_0 noised to sigma_ve.

    All (B, C, ...) in the model's own scale, sigma_ve (B,), which may differ from row to row.
    """

    def __init__(self, model, positive, negative, cfg: float = 1.0):
        self.guider = comfy.samplers.CFGGuider(model)
        self.guider.set_conds(positive, negative)
        self.guider.set_cfg(cfg)

    @torch.no_grad()
    def __call__(self, x_0: Tensor, sigma_ve: Tensor, eps: Tensor) -> Tensor:
        once = _AskOnce(x_0, sigma_ve, eps)
        nothing = torch.zeros_like(x_0)
        ends = torch.tensor([float(sigma_ve.max()), 0.0])
        self.guider.sample(nothing, nothing, once, ends, disable_pbar=True, seed=0)
        return once.denoised
