"""The gradient's whole path on real parts, and what is lost where a part is made cheaper.

photograph -> TAEF2's encoder -> noise -> view -> guider -> log-likelihood -> gradient in the
latent. Each way is compared with the full decoder in float32, by the cosine of the two gradients.
"""

import logging
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from evidence.photographs.latents import FULL, HALF, LINEAR, SHRUNK, build_view, encode
from ppap_core.atomic import save_safetensors
from ppap_core.guidance import Guidance
from ppap_core.guiders import Guider
from ppap_core.noise import add_noise
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget, SegmentationTarget, Target

LEVELS = (0.0, 0.2, 0.6, 2.0, 6.0)  # sigma_ve; 0: what a perfect estimate would give
WAYS = {view: (view, torch.float32) for view in (HALF, SHRUNK, LINEAR)}
WAYS |= {f"{view}, bf16": (view, torch.bfloat16) for view in (FULL, HALF)}
AT_ONCE = 4

log = logging.getLogger(__name__)


def target_of_others(guider: Guider, answers: Tensor) -> Target:
    """Ask each picture for what the guider sees in the next one. `answers`: of clean pictures."""
    seen, num_classes = answers.roll(-1, dims=0).argmax(dim=1), answers.shape[1]
    if guider.info.task == "segmentation":
        return SegmentationTarget(seen, num_classes)
    return ClassTarget([{index: 1.0} for index in seen.tolist()], num_classes)


def read_gradients(folder: Path, num: int) -> dict[float, dict[str, Tensor]]:
    """Noise level -> cosines (N,) by way, of the first `num` pictures; levels that are whole."""
    found = {}
    for level in LEVELS:
        files = [part_file(folder, level, begin) for begin in range(0, num, AT_ONCE)]
        if all(file.exists() for file in files):
            parts = [load_file(file) for file in files]
            found[level] = {way: torch.cat([part[way] for part in parts]) for way in WAYS}
    return found


def part_file(folder: Path, level: float, begin: int) -> Path:
    return folder / f"gradients {level:g} {begin}.safetensors"


def measure_gradients(
    guider: Guider, answers: Tensor, pictures: Tensor, networks: Path, folder: Path
) -> None:
    """Measure what is missing in `folder`, AT_ONCE pictures at a time."""
    latents = encode(pictures, networks)
    eps = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for begin in range(0, len(pictures), AT_ONCE):
        rows = slice(begin, begin + AT_ONCE)
        target = target_of_others(guider, answers[rows])
        for level in LEVELS:
            file = part_file(folder, level, begin)
            if not file.exists():
                sigma_ve = torch.full((len(latents[rows]),), level)
                state = add_noise(latents[rows], sigma_ve, eps[rows])
                found = _cosines(guider, target, state, level, networks)
                save_safetensors(found, file, {})
                log.info("%s: %s", file.stem, {way: f"{c.mean():.3f}" for way, c in found.items()})


def _cosines(
    guider: Guider, target: Target, state: Tensor, level: float, networks: Path
) -> dict[str, Tensor]:
    """Each way's cosines with the full decoder in float32, (B,)."""

    def gradient(view: str, dtype: torch.dtype) -> Tensor:
        built = build_view(view, networks, dtype)
        asked = Guidance(guider, target, Strength(1.0, "raw"), input="x_t", view=built)
        return asked.score(state, level).gradient.flatten(1)

    full = gradient(FULL, torch.float32)
    return {name: F.cosine_similarity(full, gradient(*way), dim=1) for name, way in WAYS.items()}
