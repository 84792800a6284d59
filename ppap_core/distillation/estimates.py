"""Estimates kept while training pictures were sampled: lessons for experts that read x0_hat.

Each sampling step computes an estimate x0_hat at some noise level on its way to the finished
picture. With the teacher's answer to that picture it is a training example that costs no pass of
the model. A deterministic sampler's estimate leads to one picture, so the teacher's answer is a
function of it; a stochastic sampler's estimates are those of fresh noise (docs/method.md).
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import SettingError, one_line
from ..noise import NoiseRange

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimates:
    """`sigma_ve`: (N, K) noise levels; `x0_hat`: (N, K, C, ...) in the model's own scale.

    N pictures with K estimates each.
    """

    sigma_ve: Tensor
    x0_hat: Tensor

    def __post_init__(self):
        if self.sigma_ve.shape != self.x0_hat.shape[:2]:
            raise ValueError(
                f"{tuple(self.x0_hat.shape[:2])} estimates but {tuple(self.sigma_ve.shape)} noise "
                f"levels"
            )

    def __getitem__(self, pictures: slice) -> "Estimates":
        return Estimates(self.sigma_ve[pictures], self.x0_hat[pictures])

    def within(self, noise_range: NoiseRange) -> tuple[Tensor, Tensor]:
        """(pictures, columns) of all estimates in `noise_range`."""
        found = (self.sigma_ve >= noise_range.low) & (self.sigma_ve < noise_range.high)
        pictures, columns = found.nonzero(as_tuple=True)
        return pictures, columns

    def check_ranges(self, ranges: list[NoiseRange]) -> None:
        """SettingError, naming it, if some range has no estimate."""
        for noise_range in ranges:
            if not len(self.within(noise_range)[0]):
                raise SettingError(
                    f"no estimate was kept in the noise range {noise_range}",
                    steps="sample the pictures in more steps",
                    num_estimates="keep more estimates",
                    num_experts="train fewer experts",
                    estimates="take fresh estimates",
                )

    def nearest(self, noise_range: NoiseRange) -> Tensor:
        """The column (N,) of each picture whose level is nearest to the middle of the range."""
        middle = 0.5 * (math.log(noise_range.low) + math.log(noise_range.high))
        return (self.sigma_ve.log() - middle).abs().argmin(dim=1)


def choose_steps(num_evaluations: int, num_kept: int, seed: int) -> list[int]:
    """Which evaluations of one picture are kept: one from each of `num_kept` equal stretches.

    Which one of a stretch changes from seed to seed, so that all pictures together cover all.
    """
    num_kept = min(num_kept, num_evaluations)
    ends = [num_evaluations * k // num_kept for k in range(num_kept + 1)]
    return [low + seed % (high - low) for low, high in zip(ends, ends[1:], strict=False)]


def estimate_tensors(
    sigma_ve: Tensor, estimates: Tensor, seeds: list[int], num_kept: int
) -> dict[str, Tensor]:
    """What a file of estimates holds: those kept, by seed, and their levels, by "seed/sigma_ve".

    sigma_ve: (T,). estimates: (B, T, C, ...), one row for each of `seeds`.
    """
    tensors = {}
    for seed, row in zip(seeds, estimates, strict=True):
        steps = choose_steps(len(sigma_ve), num_kept, seed)
        tensors[str(seed)] = row[steps].contiguous()
        tensors[f"{seed}/sigma_ve"] = sigma_ve[steps]
    return tensors


def read_estimates(folder: Path, lines: list[dict]) -> Estimates | None:
    """Of the pictures of `lines` (of a manifest); None unless every one has its own, all alike."""
    rows: list[tuple[Tensor, Tensor]] = []
    for line in lines:
        if "estimates" not in line:
            return None
        path = folder / line["estimates"]
        try:
            with safe_open(path, "pt") as file:
                name = str(line["seed"])
                rows.append((file.get_tensor(f"{name}/sigma_ve"), file.get_tensor(name)))
        except (OSError, SafetensorError) as error:
            log.warning("the estimates in %s cannot be read: %s", path, one_line(error))
            return None
    if len({row.shape for _, row in rows}) != 1:
        log.warning("the pictures in %s have estimates of different numbers or sizes", folder)
        return None
    sigma_ve, x0_hat = zip(*rows, strict=True)
    return Estimates(torch.stack(sigma_ve), torch.stack(x0_hat))
