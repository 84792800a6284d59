"""Distances between sets of numbers: the cheapest way to move one to the other."""

import math

import torch
from torch import Tensor


def quantile_means(values: Tensor, num: int) -> Tensor:
    """Sorted `values` (..., M) as `num` numbers (..., num): means of their quantile function.

    Of `num` equal shares of the distribution, each number is the mean of one. Between numbers x and
    the distribution, the squared 2-Wasserstein distance is mean((sort(x) - these)^2), plus the
    variance within the shares, which does not depend on x; so its gradient in x is exact.
    """
    sums = torch.cat((torch.zeros_like(values[..., :1]), values.cumsum(-1)), -1)
    place = torch.linspace(0, values.shape[-1], num + 1, dtype=torch.float64)
    low = place.floor().long().clamp(max=values.shape[-1] - 1)
    part = (place - low).to(values)
    upto = sums[..., low] + part * (sums[..., low + 1] - sums[..., low])
    return upto.diff(dim=-1) * (num / values.shape[-1])


def directions(num: int) -> Tensor:
    """(num, 3) unit vectors, spread evenly over half a sphere (a Fibonacci lattice)."""
    index = torch.arange(num)
    height = (index + 0.5) / num
    around = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - height.square()).sqrt()
    return torch.stack((radius * around.cos(), radius * around.sin(), height), -1)
