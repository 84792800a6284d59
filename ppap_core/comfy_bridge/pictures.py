"""Pictures from a checkpoint, by seed and prompt: for training and for previews."""

import shutil
import time
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..distillation.generate import LONGEST, GenerateSettings, SamplePictures, TooSlow
from ..distillation.pictures import Pictures
from ..errors import SettingError
from .checkpoint import Checkpoint
from .conditioning import Conditionings, stack_conditioning, text_encoder_of
from .harvest import Harvest
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
    """About what one picture takes on disk: a PNG at two thirds, latent and estimates in half."""
    width, height = picture_size(checkpoint, settings)
    state = 2 * torch.Size(checkpoint.latent_shape(width, height)).numel()
    latent = 0 if checkpoint.works_on_pixels else state
    return 2 * width * height + latent + settings.num_estimates * state


def need_space(folder: Path, num_pictures: int, bytes_each: int) -> None:
    """SettingError, before anything is written, if the disk has no room."""
    free, needed = free_bytes(folder), num_pictures * bytes_each
    if free < needed:
        raise SettingError(
            f"{folder} has {free / 1e9:.1f} GB free, room for about {free // bytes_each} pictures "
            f"with their estimates; the {num_pictures} to come need about {needed / 1e9:.1f} GB",
            num_images="sample fewer pictures",
            num_estimates="keep fewer estimates",
        )


def free_bytes(folder: Path) -> int:
    """Of the disk on which `folder` lies, or will lie."""
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    return shutil.disk_usage(existing).free


def conditioning_of(checkpoint: Checkpoint) -> Conditionings:
    """CONDITIONING for every prompt."""
    if not checkpoint.reads_prompts:
        empty = empty_conditioning()
        return Conditionings(lambda prompt: empty)
    return Conditionings(text_encoder_of(checkpoint))


def build_sampler(
    checkpoint: Checkpoint,
    settings: GenerateSettings,
    conditioning: Conditionings | Mapping[str, list],
    model=None,
    is_paced: bool = False,
) -> SamplePictures:
    """Sampling by `settings` as a function of seeds and prompts.

    `model`: in place of the checkpoint's own, a guided one for instance; only the checkpoint's own
    estimates are recorded. `conditioning`: CONDITIONING by prompt. `is_paced`: batches that would
    take too long to lose raise TooSlow.
    """
    shape = checkpoint.latent_shape(*picture_size(checkpoint, settings))
    negative = conditioning[""]
    harvest = Harvest(checkpoint.model) if model is None and settings.num_estimates else None

    def sample(seeds: list[int], positive: list) -> Sampled:
        if harvest:
            harvest.forget()
        latents = sample_seeds(
            harvest.model if harvest else model or checkpoint.model,
            seeds,
            shape,
            settings.steps,
            settings.cfg,
            settings.sampler_name,
            settings.scheduler,
            positive,
            negative,
            Pace(len(seeds)) if is_paced else None,
        )
        return Sampled(latents, *(harvest.take() if harvest else (None, None)))

    def sample_pictures(seeds: list[int], prompts: list[str]) -> Pictures:
        encoded = {prompt: conditioning[prompt] for prompt in prompts}
        stacked = stack_conditioning([encoded[prompt] for prompt in prompts])
        if stacked is not None:
            sampled = sample(seeds, stacked)
        else:
            sampled = _one_prompt_at_a_time(sample, encoded, seeds, prompts)
        image = checkpoint.decode(sampled.latents)
        latent = None if checkpoint.works_on_pixels else sampled.latents
        return Pictures(image, latent, sampled.sigma_ve, sampled.estimates)

    return sample_pictures


class Pace:
    """A sampler's callback. TooSlow if `num` pictures take too long at the pace of its second step
    (the first one has to load the models).
    """

    def __init__(self, num: int):
        self.num = num
        self._first: float | None = None

    def __call__(self, step: int, denoised: Tensor, x: Tensor, num_steps: int) -> None:
        if self._first is None:
            self._first = time.monotonic()
        elif step == 1 and self.num > 1:
            seconds = (time.monotonic() - self._first) * num_steps
            if seconds > LONGEST:
                raise TooSlow(self.num, seconds)


class Sampled(NamedTuple):
    """`latents`: (B, C, ...); `sigma_ve`: (T,) and `estimates`: (B, T, C, ...), if recorded."""

    latents: Tensor
    sigma_ve: Tensor | None
    estimates: Tensor | None


def _one_prompt_at_a_time(
    sample: Callable[[list[int], list], Sampled],
    encoded: dict[str, list],
    seeds: list[int],
    prompts: list[str],
) -> Sampled:
    """For prompts whose encodings differ in length."""
    order = sorted(range(len(seeds)), key=lambda i: prompts[i])
    groups = [list(group) for _, group in groupby(order, key=lambda i: prompts[i])]
    parts = [sample([seeds[i] for i in g], encoded[prompts[g[0]]]) for g in groups]
    back = torch.tensor(order).argsort()
    latents = torch.cat([part.latents for part in parts])[back]
    if parts[0].estimates is None:
        return Sampled(latents, None, None)
    estimates = torch.cat([part.estimates for part in parts])[back]
    return Sampled(latents, parts[0].sigma_ve, estimates)
