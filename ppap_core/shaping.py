"""What shapes guidance beside its strength: averages, limits, regions, frames, conflicts."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .maps import check_rows, own_maps
from .noise import per_sample
from .reading import AUTO
from .spectrum import SPECTRA
from .strength import noise_norm, norms

PUSH_ON = "push on"
WHEN_MET = {PUSH_ON: 0.0, "fade late": 0.25, "fade": 1.0}  # powers of the share that is missing


@dataclass(frozen=True)
class Shaping:
    """What else shapes guidance; the defaults change nothing.

    `momentum`: share of the earlier steps' gradients in each step's. `second_moment`: the same for
    their squares, by whose root the gradient is divided, value by value (Adam: Kingma & Ba, 2015;
    its result is near +-1, so a raw scale has another meaning). `max_norm`: a shift's largest norm,
    as a share of the noise's; 0 is no limit. `every`: of this many evaluations of the model one is
    guided. `gives_way`: the part of the shift that opposes the guidances before it is left out
    (gradient surgery: Yu et al., 2020). `region`: (R or 1, H, W) in [0, 1], where in the picture
    guidance acts, stretched over it. `frames`: of a video's latent, which are guided; below 0 they
    count from the end, and none named means all. `spectrum`: how strong each frequency of the shift
    is, one of SPECTRA (spectrum.py). `when_met`: what becomes of the shift as the guider's answer
    comes to meet the target, one of WHEN_MET: it keeps its length, or it fades (`fading`). Both
    may be "auto", what recommended.py says.
    """

    momentum: float = 0.0
    second_moment: float = 0.0
    max_norm: float = 0.0
    every: int = 1
    gives_way: bool = False
    region: Tensor | None = None
    frames: tuple[int, ...] = ()
    spectrum: str = AUTO
    when_met: str = AUTO

    def __post_init__(self):
        for name in ("momentum", "second_moment"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.max_norm < math.inf:
            raise ValueError(f"max_norm is 0 (no limit) or above, got {self.max_norm}")
        for name, options in (("spectrum", SPECTRA), ("when_met", WHEN_MET)):
            if (value := getattr(self, name)) not in (known := (AUTO, *options)):
                raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r}")
        if self.every < 1:
            raise ValueError(f"every is 1 or above, got {self.every}")
        if self.region is not None:
            region = own_maps(self.region, torch.float32).clamp(0, 1)
            if not (region.flatten(1).amax(1) > 0).all():
                raise ValueError("the region is empty: paint where the guidance acts")
            object.__setattr__(self, "region", region)

    def region_like(self, x: Tensor) -> Tensor | None:
        """The region in the size of `x` (B, C, [frames,] h, w): (B or 1, 1, [1,] h, w)."""
        if self.region is None:
            return None
        check_rows(len(self.region), len(x), "region")
        region = F.interpolate(self.region[:, None], x.shape[-2:], mode="area").to(x)
        return region if x.ndim == 4 else region[:, :, None]

    def choose_frames(self, x: Tensor) -> Tensor:
        """The frames of `x` (B, C, T, h, w) that are guided; pictures (B, C, h, w) as they are."""
        if not self.frames or x.ndim == 4:
            return x
        return x[:, :, self._chosen(x.shape[2])]

    def share_of(self, x: Tensor) -> float:
        """How much of `x` (B, C, [T,] h, w) the frames are that are guided."""
        if not self.frames or x.ndim == 4:
            return 1.0
        return len(set(self._chosen(x.shape[2]))) / x.shape[2]

    def _chosen(self, length: int) -> list[int]:
        """Of a video of `length` frames. ValueError for one that it does not have."""
        if wrong := [frame for frame in self.frames if not -length <= frame < length]:
            raise ValueError(
                f"frame {wrong[0]} is to be guided, the latent has frames 0 to {length - 1}"
            )
        return [frame % length for frame in self.frames]

    def limit(self, shift: Tensor, sigma_ve: Tensor, share: Tensor | float) -> Tensor:
        """`shift` (B, ...), shortened to `max_norm` where it is longer. `share`: see noise_norm."""
        if not self.max_norm:
            return shift
        allowed = self.max_norm * noise_norm(shift, sigma_ve, share) / norms(shift)
        return per_sample(allowed.clamp(max=1.0), shift) * shift


NO_SHAPING = Shaping()


class Moments:
    """Moving averages of the gradients of one run, without the bias of a short history."""

    def __init__(self, shaping: Shaping):
        self._decays = (shaping.momentum, shaping.second_moment)
        self._averages: list[Tensor] = []
        self._steps = 0

    def update(self, gradient: Tensor) -> Tensor:
        """The gradient to use in place of `gradient` (B, ...)."""
        if not any(self._decays):
            return gradient
        if self._averages and self._averages[0].shape != gradient.shape:
            self._averages, self._steps = [], 0
        values = (gradient, gradient.square())
        averages = self._averages or [torch.zeros_like(value) for value in values]
        self._steps += 1
        self._averages = [
            average.lerp(value, 1 - decay)
            for average, value, decay in zip(averages, values, self._decays, strict=True)
        ]
        first, second = (
            average / (1 - decay**self._steps)
            for average, decay in zip(self._averages, self._decays, strict=True)
        )
        return first / second.sqrt().clamp(min=1e-20) if self._decays[1] else first


def fading(missing: Tensor, when_met: str) -> Tensor:
    """How much is left of the shift of pictures whose targets lack these shares of being met: (B,).

    A softmax' own gradient shrinks with the share that is missing. The rule relative stretches it
    to full length again, so that in the end pictures would be moved along nearly nothing. Where a
    share is not finite, neither was the gradient, which is 0 then.
    """
    return missing.nan_to_num(1.0).clamp(0, 1) ** WHEN_MET[when_met]


def without_conflict(shift: Tensor, earlier: Tensor) -> Tensor:
    """`shift` (B, ...) without what opposes `earlier`, picture by picture."""
    dot = (shift * earlier).flatten(1).sum(dim=1)
    return shift - per_sample((dot / norms(earlier).square()).clamp(max=0.0), shift) * earlier
