"""How close generated pictures are to real ones in the judge's features, and intervals of shares.

Distances by torchmetrics, precision and recall (Kynkaanniemi et al., 2019) by torch-fidelity.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from demo.judges import Judge

REAL = slice(-2000, None)  # of the held-out scenes: distances are measured to these
KID_SUBSETS = 50
NEIGHBOURS = 3  # for precision and recall
RESAMPLES = 2000  # of the bootstrap


class Features(nn.Identity):
    """For metrics that expect Inception: they are given features (B, D) already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


class Quality(NamedTuple):
    """Frechet and kernel distance to real pictures (`kid` times 1000); 0 means no difference.

    `precision`: the share of the pictures that look real; `recall`: the share of the real ones that
    they cover.
    """

    fid: float
    kid: float
    precision: float
    recall: float


def for_judges(pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] at the judges' size, (N, 3, 32, 32)."""
    return F.interpolate(pictures, (32, 32), mode="area").clamp(-1, 1)


@torch.no_grad()
def measure_quality(judge: Judge, pictures: Tensor, real: Tensor) -> Quality:
    """Both (N, 3, 32, 32) in [-1, 1]; at least 129 pictures for a Frechet distance of full rank.

    Distances of few pictures are too high; compare only those of equal numbers.
    """
    return quality_of(judge.features(pictures), judge.features(real))


@torch.no_grad()
def quality_of(features: Tensor, real: Tensor) -> Quality:
    """Both (N, D), of any judge; a Frechet distance of full rank takes more than D of each."""
    fid = FrechetInceptionDistance(Features(features.shape[1]))
    with warnings.catch_warnings():  # it warns that it keeps all features in memory
        warnings.simplefilter("ignore", UserWarning)
        kid = KernelInceptionDistance(
            Features(features.shape[1]),
            subsets=KID_SUBSETS,
            subset_size=min(100, len(features), len(real)),
        )
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(features, real=False)
    torch.manual_seed(0)  # KID takes random subsets
    shares = prc_features_to_metric(
        features,
        real,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=10_000,
        save_cpu_ram=False,
        verbose=False,
    )
    return Quality(
        fid=fid.compute().item(),
        kid=1000 * kid.compute()[0].item(),
        precision=shares["precision"],
        recall=shares["recall"],
    )


@torch.no_grad()
def kid_interval(features: Tensor, real: Tensor) -> tuple[float, float]:
    """95 % bootstrap interval of the kernel distance (times 1000) over the pictures (N, D).

    The real ones (M, D) stay. Pairs are of different pictures, or those drawn twice would be too
    alike.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / a.shape[1] + 1) ** 3

    own, across, among = kernel(features, features), kernel(features, real), kernel(real, real)
    own.fill_diagonal_(0)
    fixed = (among.sum() - among.trace()) / (len(real) * (len(real) - 1))
    drawn = numpy.random.default_rng(0).multinomial(
        len(features), [1 / len(features)] * len(features), RESAMPLES
    )
    times = torch.from_numpy(drawn).double()
    pairs = len(features) ** 2 - times.square().sum(dim=1)
    within = ((times @ own) * times).sum(dim=1) / pairs
    distances = within + fixed - 2 * times @ across.mean(dim=1) / len(features)
    low, high = (1000 * distances.quantile(q).item() for q in (0.025, 0.975))
    return low, high


def interval(shares: Sequence[float], n: int) -> tuple[float, float]:
    """95 % bootstrap interval of a share's mean over training seeds, of `n` pictures each.

    Seeds are resampled; then each seed's share is sampled from its posterior (Jeffreys' prior), so
    that shares of 0 and 1 have an interval too.
    """
    random = numpy.random.default_rng(0)
    right = n * random.choice(numpy.asarray(shares), (RESAMPLES, len(shares)))
    means = random.beta(right + 0.5, n - right + 0.5).mean(axis=1)
    low, high = numpy.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def with_interval(shares: Sequence[float], n: int) -> str:
    """The mean of `shares`, and its interval, for a table."""
    low, high = interval(shares, n)
    return f"{numpy.mean(shares):.1%} ({low:.0%} to {high:.0%})"
