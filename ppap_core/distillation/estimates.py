"""Estimates kept while training pictures were sampled: lessons for experts that read x0_hat.

Each sampling step computes an estimate x0_hat at some noise level on its way to the finished
picture. With the teacher's answer to that picture it is a training example that costs no pass of
the model. A deterministic sampler's estimate leads to one picture, so the teacher's answer is a
function of it; a stochastic sampler's estimates are those of fresh noise (docs/method.md).
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingError
from ..noise import NoiseRange
from .checksums import open_rows
from .images import recipe_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimates:
    """`sigma_ve`: (N, K) noise levels; `x0_hat`: (N, K, C, ...) in the model's own scale.

    N pictures with K estimates each, which may lie in files.
    """

    sigma_ve: Tensor
    x0_hat: "Tensor | EstimateFiles"

    def __post_init__(self):
        if tuple(self.sigma_ve.shape) != tuple(self.x0_hat.shape[:2]):
            raise ValueError(
                f"{tuple(self.x0_hat.shape[:2])} estimates but {tuple(self.sigma_ve.shape)} noise "
                f"levels"
            )

    def __getitem__(self, pictures: slice) -> "Estimates":
        return Estimates(self.sigma_ve[pictures], self.x0_hat[pictures])

    def within(self, noise_range: NoiseRange) -> tuple[Tensor, Tensor]:
        """(pictures, columns) of all estimates in `noise_range`; where there are none, of each
        picture's nearest one.
        """
        found = self._are_in(noise_range)
        if not found.any():
            return torch.arange(len(found)), self.nearest(noise_range)
        pictures, columns = found.nonzero(as_tuple=True)
        return pictures, columns

    def missing(self, ranges: list[NoiseRange]) -> list[NoiseRange]:
        """Those in which no estimate was kept."""
        return [noise_range for noise_range in ranges if not self._are_in(noise_range).any()]

    def _are_in(self, noise_range: NoiseRange) -> Tensor:
        return (self.sigma_ve >= noise_range.low) & (self.sigma_ve < noise_range.high)

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


@dataclass(frozen=True)
class EstimateFiles:
    """Estimates where `generate` put them: `files[pictures, columns]` reads those alone.

    `places`: of each picture, the file and its seed. `row`: the shape (K, C, ...) of each picture.
    `recipes`: of each file, how its pictures were sampled.
    """

    places: Sequence[tuple[Path, str]]
    recipes: Mapping[Path, dict]
    row: tuple[int, ...]

    @property
    def shape(self) -> Sequence[int]:
        return len(self.places), *self.row

    def __getitem__(self, wanted: slice | tuple[Tensor, Tensor]) -> Any:
        """A slice of pictures: their files. (pictures (B,), columns (B,)): (B, C, ...).

        SettingError, naming the file, if one is damaged or gone.
        """
        if isinstance(wanted, slice):
            return replace(self, places=self.places[wanted])
        pairs = zip(*(index.tolist() for index in wanted), strict=True)
        by_file: dict[Path, list[tuple[int, str, int]]] = {}
        for place, (picture, column) in enumerate(pairs):
            path, name = self.places[picture]
            by_file.setdefault(path, []).append((place, name, column))
        rows: dict[int, Tensor] = {}
        for path, entries in by_file.items():
            try:
                with open_rows(path, self.recipes[path]) as file:
                    for place, name, column in entries:
                        (rows[place],) = file.read(name, slice(column, column + 1))
            except ValueError as error:
                raise SettingError(str(error), estimates="take fresh estimates") from None
        return torch.stack([rows[place] for place in range(len(rows))])


def read_estimates(folder: Path, lines: list[dict]) -> Estimates | None:
    """Of the pictures of `lines` (of a manifest); None unless every one has its own, all alike.

    Their noise levels are read, the estimates themselves stay in their files.
    """
    by_file: dict[Path, list[str]] = {}
    recipes: dict[Path, dict] = {}
    places = []
    for line in lines:
        if "estimates" not in line:
            return None
        path, seed = folder / line["estimates"], str(line["seed"])
        by_file.setdefault(path, []).append(seed)
        recipes[path] = recipe_of(line)
        places.append((path, seed))
    found, kinds = {}, set()
    for path, seeds in by_file.items():
        try:
            with open_rows(path, recipes[path]) as file:
                for seed in seeds:
                    found[path, seed] = file.read(f"{seed}/sigma_ve")
                    kinds.add(file.kind(seed))
        except ValueError as error:
            log.warning("no estimates are used: %s", error)
            return None
    if len(kinds) != 1:
        log.warning("the pictures in %s have estimates of different numbers or kinds", folder)
        return None
    ((_, row),) = kinds
    files = EstimateFiles(places, recipes, row)
    return Estimates(torch.stack([found[place] for place in places]), files)
