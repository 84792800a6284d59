"""Runs of guidance beside a sampler: from its states and noise levels to shifts of its estimate."""

import torch
from torch import Tensor

from ..guidance_run import GuidanceRun
from ..jacobian import Denoiser
from ..noise import per_sample
from ..shaping import without_conflict
from .noise_levels import norm_of_states, sigma_to_sigma_ve
from .streams import Streams

ONE_STREAM = Streams()


def total_shift(
    runs: list[GuidanceRun],
    model_sampling,
    x: Tensor,
    sigma: Tensor,
    denoised: Tensor,
    denoise: Denoiser,
    streams: Streams,
) -> Tensor:
    """What all `runs` together add to `denoised`, in the order of the nodes."""
    total = None
    for run in runs:
        shift = guided_shift(run, model_sampling, x, sigma, denoised, denoise, streams)
        if run.guidance.shaping.gives_way and total is not None:
            shift = without_conflict(shift, total.to(shift))
        total = shift if total is None else total.to(shift) + shift
    return total


def guided_shift(
    run: GuidanceRun,
    model_sampling,
    x: Tensor,
    sigma: Tensor,
    denoised: Tensor | None = None,
    denoise: Denoiser | None = None,
    streams: Streams = ONE_STREAM,
) -> Tensor:
    """What `run` adds to `denoised`; `x` (B, ...) and `sigma` (B,) as a sampler calls the model.

    `denoise`: another x of the sampler -> the estimate that `denoised` is of this one.
    """
    inference = torch.is_inference_mode_enabled()
    with torch.inference_mode(False), torch.no_grad():
        device = next(run.guidance.guider.parameters()).device
        whole, x = x.clone(), streams.first(x.clone())
        sigma = sigma.clone().to(device).float()
        c = per_sample(norm_of_states(model_sampling, sigma), x)

        def denoise_vp(x_vp: Tensor) -> Tensor:
            like_x = streams.with_first(whole, (x_vp * c).to(x))
            with torch.inference_mode(inference and not x_vp.requires_grad):
                return streams.first(denoise(like_x)).to(x_vp)

        x_vp = x.to(device).float() / c
        estimate = None if denoised is None else streams.first(denoised.clone()).to(x_vp)
        shift = run.shift(x_vp, sigma_to_sigma_ve(model_sampling, sigma), estimate, denoise_vp)
        return streams.with_first(torch.zeros_like(whole), shift)
