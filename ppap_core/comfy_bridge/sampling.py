"""KSampler's own sampling, with its previews and progress bar (ComfyUI 0.30.0, nodes.py)."""

from collections.abc import Callable

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..errors import SettingError, did_you_mean
from .pixel_model import empty_conditioning


def check_names(sampler_name: str, scheduler: str) -> None:
    """SettingError for a name that ComfyUI does not know: it would take its first one instead."""
    for setting, name, known in (
        ("sampler_name", sampler_name, comfy.samplers.KSampler.SAMPLERS),
        ("scheduler", scheduler, comfy.samplers.KSampler.SCHEDULERS),
    ):
        if name not in known:
            what = setting.removesuffix("_name")
            raise SettingError(
                f"ComfyUI has no {what} {name!r}: {did_you_mean(name, known)}", setting
            )


def sample_latent(
    model,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive,
    negative,
    latent_image: dict,
    denoise: float = 1.0,
) -> dict:
    """Sample as the node KSampler does: LATENT in, LATENT out. SettingError for unknown names."""
    check_names(sampler_name, scheduler)
    import nodes  # ComfyUI's nodes.py: only a running server has it

    (latent,) = nodes.common_ksampler(
        model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise
    )
    return latent


@torch.no_grad()
def sample_seeds(
    model,
    seeds: list[int],
    shape: tuple[int, ...],
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive,
    negative,
    callback: Callable | None = None,
) -> Tensor:
    """Latents (N, *shape), one per seed. With a sampler that adds no noise of its own, a latent
    depends on its own seed alone, not on the batch it was drawn in. `callback`: as samplers have.
    """
    empty = torch.zeros((1, *shape))
    noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in seeds])
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        torch.zeros_like(noise),
        callback=callback,
        disable_pbar=True,
        seed=seeds[0],
    )


def sample_pixels(
    model,
    seeds: list[int],
    steps: int,
    sampler_name: str,
    scheduler: str,
    width: int,
    height: int,
    *,
    cfg: float = 1.0,
    **told,
) -> Tensor:
    """Pictures of a pixel model, one per seed: (N, 3, height, width) in [-1, 1].

    `told`: what the model's conditioning says, against nothing said, by `cfg`.
    """
    positive, negative = empty_conditioning(**told), empty_conditioning()
    shape = (3, height, width)
    return sample_seeds(
        model, seeds, shape, steps, cfg, sampler_name, scheduler, positive, negative
    ).clamp(-1, 1)
