"""Which frequencies a shift moves, and which of them data have.

A guider's gradient is smooth or ragged as its network is, and guidance paints that into pictures.
Two ways to correct it, both per picture, for any size and number of channels, frame by frame:

- `whiten` raises the magnitude of every frequency to a power: 1 leaves the gradient, 0 keeps its
  phases only (white), 0.5 lies between. Compare the whitened gradients of arXiv 2602.08646.
- `DataSpectrum.wiener` keeps the frequencies that data have at a noise level (Wiener, 1949).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-4  # of the largest magnitude: smaller ones are rounding, and are not raised
NUM_BANDS = 16
HIGHEST = 0.5**0.5  # cycles per pixel: the corner of the plane of frequencies
CORNER = 0.03  # cycles per pixel, where the generic spectrum stops rising toward 0


def whiten(gradient: Tensor, power: float) -> Tensor:
    """`gradient` (B, ..., h, w), each frequency's magnitude raised to `power`; 1 changes nothing.

    Its length changes too, and has no meaning: use the rule relative with it.
    """
    if power == 1:
        return gradient
    waves = torch.fft.rfft2(gradient.float())
    magnitude = waves.abs()
    largest = magnitude.flatten(1).amax(dim=1).clamp(min=1e-30)
    floor = FLOOR * largest.reshape(-1, *[1] * (gradient.ndim - 1))
    waves = waves * (magnitude.maximum(floor) / floor) ** (power - 1)
    return torch.fft.irfft2(waves, s=gradient.shape[-2:]).to(gradient)


@dataclass(frozen=True)
class DataSpectrum:
    """Mean square of the data at each radial frequency, as a density whose mean over all is 1.

    `density`: NUM_BANDS values, from frequency 0 to HIGHEST cycles per pixel.
    """

    density: tuple[float, ...]

    def __post_init__(self):
        if len(self.density) < 2 or not all(0 < value < float("inf") for value in self.density):
            raise ValueError(f"a data spectrum has positive values, got {self.density}")

    @classmethod
    def generic(cls) -> "DataSpectrum":
        """1 / f^2, as natural images have it (Field, 1987)."""
        frequency = torch.linspace(0, HIGHEST, NUM_BANDS)
        return cls.from_density(1 / (frequency.square() + CORNER**2))

    @classmethod
    def of_states(cls, states: Tensor) -> "DataSpectrum":
        """Measured on clean states (N, C, [T,] h, w), over channels, frames and directions."""
        planes = states.float().flatten(0, -3)
        planes = planes - planes.mean(dim=(1, 2), keepdim=True)
        power = torch.fft.fft2(planes, norm="ortho").abs().square().mean(dim=0)
        band = (_radius(*states.shape[-2:]) / HIGHEST * (NUM_BANDS - 1)).round().long()
        sums = torch.zeros(NUM_BANDS).index_add_(0, band.flatten(), power.flatten())
        counts = torch.zeros(NUM_BANDS).index_add_(0, band.flatten(), torch.ones(band.numel()))
        return cls.from_density(_filled(sums, counts))

    @classmethod
    def from_density(cls, density: Tensor) -> "DataSpectrum":
        """Scaled so that its mean over the square of frequencies is 1."""
        mean = _at(density, _radius(64, 64)).mean()
        return cls(tuple((density / mean).clamp(min=1e-8).tolist()))

    def at(self, size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The density at the frequencies of rfft2 of planes of `size`: (h, w // 2 + 1)."""
        height, width = size
        density = _at(torch.tensor(self.density), _radius(height, width)[:, : width // 2 + 1])
        return density.to(device)

    def wiener(self, gradient: Tensor, sigma_ve: Tensor) -> Tensor:
        """`gradient` (B, ..., h, w), each frequency times S / (S + sigma_ve^2); sigma_ve: (B,)."""
        density = self.at(gradient.shape[-2:], gradient.device)
        noise = sigma_ve.float().square().reshape(-1, *[1] * (gradient.ndim - 1))
        waves = torch.fft.rfft2(gradient.float()) * (density / (density + noise))
        return torch.fft.irfft2(waves, s=gradient.shape[-2:]).to(gradient)


def _radius(height: int, width: int) -> Tensor:
    """Cycles per pixel of each frequency of torch.fft.fft2, (height, width)."""
    return torch.fft.fftfreq(height)[:, None].hypot(torch.fft.fftfreq(width)[None])


def _at(density: Tensor, radius: Tensor) -> Tensor:
    """`density` (NUM_BANDS,) at each `radius`, linear between bands."""
    place = (radius / HIGHEST * (len(density) - 1)).clamp(0, len(density) - 1)
    below = place.floor().long().clamp(max=len(density) - 2)
    return torch.lerp(density[below], density[below + 1], place - below)


def _filled(sums: Tensor, counts: Tensor) -> Tensor:
    """Means of the bands; a band without a frequency, on small planes, takes its neighbour's."""
    means = sums / counts.clamp(min=1)
    for band in range(1, len(means)):
        if counts[band] == 0:
            means[band] = means[band - 1]
    return means
