"""Which frequencies a shift moves, and which of them data have.

A guider's gradient is strong in a few frequencies and paints them into pictures. Two ways to
correct it, both picture by picture, for any size and number of channels, frame by frame:

- `whiten` raises the magnitude of every frequency to a power: 1 leaves the gradient, 0 keeps its
  phases only (white), 0.5 lies between. The gradient keeps its length. Compare the whitened
  gradients of arXiv 2602.08646.
- `DataSpectrum.wiener` weighs them by a power of what an ideal denoiser of stationary Gaussian
  data passes (Wiener, 1949): 0 leaves the gradient, 1 is that denoiser's Jacobian. A gradient that
  lies where data have little gets shorter.

SPECTRA names those that a user can choose.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import per_sample
from .strength import norms

FLOOR = 1e-4  # of the largest magnitude: smaller ones are rounding, and are not raised
NUM_BANDS = 16
HIGHEST = 0.5**0.5  # cycles per pixel: the corner of the plane of frequencies
CORNER = 0.03  # cycles per pixel, where the generic spectrum stops rising toward 0


def whiten(gradient: Tensor, power: float) -> Tensor:
    """`gradient` (B, ..., h, w) with each frequency's magnitude raised to `power`; as long."""
    if power == 1:
        return gradient
    waves = torch.fft.rfft2(gradient.float())
    magnitude = waves.abs()
    floor = FLOOR * magnitude.flatten(1).amax(dim=1).clamp(min=1e-30)
    floor = per_sample(floor, gradient)
    waves = waves * (magnitude.maximum(floor) / floor) ** (power - 1)
    white = torch.fft.irfft2(waves, s=gradient.shape[-2:]).to(gradient)
    return per_sample(norms(gradient) / norms(white), gradient) * white


@dataclass(frozen=True)
class DataSpectrum:
    """Mean square of clean states at each radial frequency: a power spectral density.

    `density`: positive values at equal distances from frequency 0 to HIGHEST cycles per pixel. Its
    mean over the square of frequencies is the variance of a value.
    """

    density: tuple[float, ...]

    def __post_init__(self):
        if len(self.density) < 2 or not all(0 < value < float("inf") for value in self.density):
            raise ValueError(f"a data spectrum has two or more positive values, got {self.density}")

    @classmethod
    def of_states(cls, batches: Iterable[Tensor]) -> "DataSpectrum":
        """Measured on clean states (N, C, [T,] h, w), over channels, frames and directions.

        Planes that are not finite are left out. A mean, of which a plane has but one, counts for
        states of a single value alone.
        """
        power, num = 0.0, 0
        for states in batches:
            planes = states.float().flatten(0, -3)
            planes = planes[planes.isfinite().flatten(1).all(dim=1)]
            power = power + torch.fft.fft2(planes, norm="ortho").abs().square().sum(dim=0)
            num += len(planes)
        band = (_radius(*power.shape) / HIGHEST * (NUM_BANDS - 1)).round().long().flatten()
        power = (power / num).flatten()
        if len(power) > 1:
            power, band = power[1:], band[1:]
        sums = torch.zeros(NUM_BANDS).index_add_(0, band, power)
        counts = torch.zeros(NUM_BANDS).index_add_(0, band, torch.ones(len(band)))
        return cls(tuple(_means(sums, counts).clamp(min=1e-8).tolist()))

    def at(self, size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The density at the frequencies of rfft2 of planes of `size`: (h, w // 2 + 1).

        The mean of a plane has that of its lowest frequency: a small plane's mean stands for far
        more than frequency 0, where natural images have most.
        """
        height, width = size
        radius = _radius(height, width)[:, : width // 2 + 1]
        radius[0, 0] = 1 / max(size)
        return _at(torch.tensor(self.density), radius).to(device)

    def jacobian(self, g: Tensor, sigma_ve: Tensor) -> Tensor:
        """J g for a gradient g (B, ..., h, w) in the estimate; sigma_ve: (B,).

        E[x_0 | x_vp] of stationary Gaussian data multiplies each frequency of x_vp by
        sqrt(1 + sigma_ve^2) S / (S + sigma_ve^2). For white data of variance 1 that is "none".
        """
        return self.wiener(g, sigma_ve, 1.0) / per_sample((1 + sigma_ve**2).sqrt(), g)

    def wiener(self, g: Tensor, sigma_ve: Tensor, power: float) -> Tensor:
        """g (B, ..., h, w), each frequency times ((1 + sigma_ve^2) S / (S + sigma_ve^2))^power.

        This is what an ideal denoiser passes, in multiples of what it passes of white data, which
        so leave g as it is. sigma_ve: (B,).
        """
        noise = per_sample(sigma_ve.float().square(), g)
        density = self.at(g.shape[-2:], g.device)
        waves = torch.fft.rfft2(g.float()) * (density * (1 + noise) / (density + noise)) ** power
        return torch.fft.irfft2(waves, s=g.shape[-2:]).to(g)


def _radius(height: int, width: int) -> Tensor:
    """Cycles per pixel of each frequency of torch.fft.fft2, (height, width)."""
    return torch.fft.fftfreq(height)[:, None].hypot(torch.fft.fftfreq(width)[None])


def _at(density: Tensor, radius: Tensor) -> Tensor:
    """`density` (K,) at each `radius`, linear between its values."""
    place = (radius / HIGHEST * (len(density) - 1)).clamp(0, len(density) - 1)
    below = place.floor().long().clamp(max=len(density) - 2)
    return torch.lerp(density[below], density[below + 1], place - below)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Means of the bands; a band without a frequency, on small planes, takes its neighbour's."""
    means = sums / counts.clamp(min=1)
    known = counts.nonzero().flatten()
    nearest = (torch.arange(len(means))[:, None] - known).abs().argmin(dim=1)
    return means[known[nearest]]


def _generic() -> DataSpectrum:
    frequency = torch.linspace(0, HIGHEST, NUM_BANDS)
    density = 1 / (frequency.square() + CORNER**2)
    return DataSpectrum(tuple((density / _at(density, _radius(64, 64)).mean()).tolist()))


GENERIC = _generic()
"""1 / f^2, as natural images have it (Field, 1987), for values of variance 1."""

Filter = Callable[[Tensor, Tensor, DataSpectrum], Tensor]

SPECTRA: dict[str, Filter] = {
    "plain": lambda gradient, sigma_ve, data: gradient,
    "half-white": lambda gradient, sigma_ve, data: whiten(gradient, 0.5),
    "white": lambda gradient, sigma_ve, data: whiten(gradient, 0.0),
    "half-wiener": lambda gradient, sigma_ve, data: data.wiener(gradient, sigma_ve, 0.5),
    "wiener": lambda gradient, sigma_ve, data: data.wiener(gradient, sigma_ve, 1.0),
}
"""Each maps a gradient (B, ..., h, w) at sigma_ve (B,), with the data's spectrum, to its like."""
