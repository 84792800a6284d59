"""Pictures from a checkpoint, by seed and prompt: for training and for previews."""

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from ..distillation.generate import GenerateSettings, Pictures, SamplePictures
from .checkpoint import Checkpoint
from .conditioning import encode_prompts, stack_conditioning
from .pixel_model import empty_conditioning
from .sampling import sample_seeds

DEFAULT_SIDES = {"SDXL": 1024, "SD3": 1024, "Flux": 1024, "SD15": 512}


def picture_size(checkpoint: Checkpoint, settings: GenerateSettings) -> tuple[int, int]:
    """(width, height): as set, else the usual side of the checkpoint's family."""
    side = checkpoint.own_side or DEFAULT_SIDES.get(
        type(checkpoint.model.model.model_config).__name__, 512
    )
    return settings.width or side, settings.height or side


def picture_bytes(checkpoint: Checkpoint, settings: GenerateSettings) -> int:
    """About what one picture takes on disk: a PNG at two thirds, a latent in half precision."""
    width, height = picture_size(checkpoint, settings)
    latent = 0
    if not checkpoint.works_on_pixels:
        latent = 2 * torch.Size(checkpoint.latent_shape(width, height)).numel()
    return 2 * width * height + latent


def conditioning_of(checkpoint: Checkpoint, prompts: Sequence[str]) -> dict[str, list]:
    """CONDITIONING for each prompt, and for the empty one."""
    prompts = sorted({*prompts, ""})
    if not checkpoint.reads_prompts:
        return dict.fromkeys(prompts, empty_conditioning())
    return encode_prompts(checkpoint, prompts)


def build_sampler(
    checkpoint: Checkpoint,
    settings: GenerateSettings,
    conditioning: dict[str, list],
    model=None,
) -> SamplePictures:
    """Sampling by `settings` as a function of seeds and prompts. `model`: in place of the
    checkpoint's own, a guided one for instance. `conditioning`: CONDITIONING by prompt.
    """
    shape = checkpoint.latent_shape(*picture_size(checkpoint, settings))
    negative = conditioning.get("")

    def sample(seeds: list[int], positive: list) -> Tensor:
        return sample_seeds(
            model or checkpoint.model,
            seeds,
            shape,
            settings.steps,
            settings.cfg,
            settings.sampler_name,
            settings.scheduler,
            positive,
            negative,
        )

    def sample_pictures(seeds: list[int], prompts: list[str]) -> Pictures:
        stacked = stack_conditioning([conditioning[prompt] for prompt in prompts])
        if stacked is not None:
            latents = sample(seeds, stacked)
        else:
            latents = _one_prompt_at_a_time(sample, conditioning, seeds, prompts)
        image = checkpoint.decode(latents)
        return Pictures(image, None if checkpoint.works_on_pixels else latents)

    return sample_pictures


def _one_prompt_at_a_time(sample: Callable, conditioning, seeds, prompts) -> Tensor:
    """For prompts whose encodings differ in length."""
    order = sorted(range(len(seeds)), key=lambda i: prompts[i])
    latents = {}
    for prompt, group in groupby(order, key=lambda i: prompts[i]):
        group = list(group)
        for i, latent in zip(
            group, sample([seeds[i] for i in group], conditioning[prompt]), strict=True
        ):
            latents[i] = latent
    return torch.stack([latents[i] for i in range(len(seeds))])
