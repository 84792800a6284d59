"""How often a guider is right about noisy images, per noise range, plain and with its experts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ppap_core.experts import NoiseExperts
from ppap_core.guiders import Guider
from ppap_core.noise import NoiseRange, add_noise, sample_sigma_ve

from .images import to_unit_range


@dataclass(frozen=True)
class RangeAgreement:
    """Share of noisy images, in one range, whose most likely class is the expected one."""

    noise_range: NoiseRange
    plain: float
    expert: float


@torch.no_grad()
def agreement_per_range(
    guider: Guider, experts: NoiseExperts, images: Tensor, expected: Tensor, seed: int = 0
) -> list[RangeAgreement]:
    """`images`: (N, 3, H, W) uint8; `expected`: (N,) class indices, from teacher or truth."""
    rows = []
    for noise_range, expert in zip(experts.ranges, experts.experts, strict=True):
        generator = torch.Generator().manual_seed(seed)
        sigma_ve = sample_sigma_ve(noise_range, len(images), generator)
        eps = torch.randn(images.shape, generator=generator)
        x_t = add_noise(to_unit_range(images), sigma_ve, eps)
        shares = []
        for active in (None, expert):
            guider.switch.activate(active)
            answers = torch.cat([guider(chunk).argmax(dim=1) for chunk in x_t.split(256)])
            shares.append((answers == expected).float().mean().item())
        rows.append(RangeAgreement(noise_range, *shares))
    guider.switch.restore()
    return rows


def agreement_table(rows: list[RangeAgreement]) -> str:
    """The rows as text for a terminal."""
    lines = [f"{'noise range (sigma)':>24}  {'plain':>7}  {'expert':>7}"]
    lines += [f"{row.noise_range!s:>24}  {row.plain:7.1%}  {row.expert:7.1%}" for row in rows]
    return "\n".join(lines)
