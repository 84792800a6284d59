"""Noise levels: one coordinate for every diffusion family, and the noise ranges of experts.

A noisy state is `x_t = alpha x_0 + sigma eps`. What a picture has lost depends only on the ratio
`sigma_ve = sigma / alpha = exp(-log-SNR / 2)`: the noise level of the variance-exploding form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

NUM_TIMESTEPS = 1000
SIGMA_VE_MAX = 157.0  # the end of the DDPM-linear schedule (T = 1000): no signal is left there


@dataclass(frozen=True)
class NoiseRange:
    """The noise levels from `low` up to, but not including, `high`, in sigma_ve."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high < math.inf:
            raise ValueError(f"a noise range is 0 <= low < high, got [{self.low}, {self.high})")

    def __contains__(self, sigma_ve: float) -> bool:
        return self.low <= sigma_ve < self.high

    def __str__(self) -> str:
        return f"[{self.low:.4g}, {self.high:.4g})"


def check_ranges(ranges: Sequence[NoiseRange]) -> None:
    """ValueError unless each of `ranges` begins where the one before ends."""
    if not ranges:
        raise ValueError("no noise ranges: at least one expert is needed")
    for lower, upper in pairwise(ranges):
        if lower.high != upper.low:
            kind = "overlap" if upper.low < lower.high else "leave a gap"
            raise ValueError(f"noise ranges {lower} and {upper} {kind}: they must touch")


def find_range(ranges: Sequence[NoiseRange], sigma_ve: float) -> int:
    """Index of the range that holds `sigma_ve`; beyond the ends, the nearest one."""
    return sum(sigma_ve >= r.high for r in ranges[:-1])


@lru_cache(maxsize=1)
def ddpm_linear_sigmas() -> Tensor:
    """sigma_ve of each timestep of DDPM's linear schedule (Ho et al., 2020): (1000,), rising."""
    betas = torch.linspace(1e-4, 0.02, NUM_TIMESTEPS, dtype=torch.float64)
    alphas_bar = torch.cumprod(1 - betas, dim=0)
    return ((1 - alphas_bar) / alphas_bar).sqrt()


def timestep_to_sigma_ve(timestep: Tensor) -> Tensor:
    """DDPM-linear `timestep` in [0, 999], fractions allowed, any shape -> sigma_ve, float64."""
    log_sigmas = ddpm_linear_sigmas().log().to(timestep.device)
    position = timestep.double().clamp(0, NUM_TIMESTEPS - 1)
    lower = position.floor().long().clamp(max=NUM_TIMESTEPS - 2)
    return torch.lerp(log_sigmas[lower], log_sigmas[lower + 1], position - lower).exp()


def sigma_ve_to_timestep(sigma_ve: Tensor) -> Tensor:
    """Inverse of `timestep_to_sigma_ve`; noise beyond the schedule's ends becomes its ends."""
    log_sigmas = ddpm_linear_sigmas().log().to(sigma_ve.device)
    log_sigma = sigma_ve.double().log().clamp(log_sigmas[0], log_sigmas[-1])
    upper = torch.searchsorted(log_sigmas, log_sigma).clamp(1, NUM_TIMESTEPS - 1)
    low, high = log_sigmas[upper - 1], log_sigmas[upper]
    return upper - 1 + (log_sigma - low) / (high - low)


def range_to_timesteps(noise_range: NoiseRange) -> Tensor:
    """The ends of `noise_range` as DDPM-linear timesteps, fractions included: (2,), float64."""
    ends = torch.tensor([noise_range.low, noise_range.high], dtype=torch.float64)
    return sigma_ve_to_timestep(ends)


def partition_by_timestep(num_experts: int) -> list[NoiseRange]:
    """Equal shares of DDPM-linear's 1000 timesteps, as in PPAP (Go et al., 2023, section 4.2).

    An edge is half-way (in log sigma_ve) between the last timestep of one expert and the first of
    the next, so that rounding in the host's schedule cannot move a timestep across it.
    """
    edges = torch.arange(num_experts + 1) * NUM_TIMESTEPS / num_experts - 0.5
    return _ranges_between(timestep_to_sigma_ve(edges))


def partition_by_log_snr(
    num_experts: int, low: float = 0.05, high: float = 20.0
) -> list[NoiseRange]:
    """Equal shares of log-SNR between `low` and `high`, in sigma_ve."""
    edges = torch.linspace(math.log(low), math.log(high), num_experts + 1, dtype=torch.float64)
    return _ranges_between(edges.exp())


PARTITIONS = {"timestep": partition_by_timestep, "log_snr": partition_by_log_snr}


def _ranges_between(edges: Tensor) -> list[NoiseRange]:
    return [NoiseRange(low, high) for low, high in pairwise(edges.tolist())]


def sample_sigma_ve(noise_range: NoiseRange, num: int, generator: torch.Generator) -> Tensor:
    """Random noise levels (num,) in `noise_range`, in sigma_ve; uniform in DDPM's timestep."""
    low, high = range_to_timesteps(noise_range)
    share = torch.rand(num, generator=generator, dtype=torch.float64)
    return timestep_to_sigma_ve(torch.lerp(low, high, share)).float()


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) reshaped so that it multiplies `like` (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(x_0: Tensor, sigma_ve: Tensor, eps: Tensor) -> Tensor:
    """The variance-preserving noisy state x_vp of `x_0` (B, ...) and `eps`; `sigma_ve`: (B,)."""
    sigma = per_sample(sigma_ve, x_0)
    return (x_0 + sigma * eps) / (1 + sigma.square()).sqrt()
