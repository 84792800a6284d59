"""How strongly guidance moves a picture: scale rules, and what else shapes a gradient."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .maps import check_rows, own_maps
from .noise import per_sample


@dataclass(frozen=True)
class Strength:
    """How strongly, by which rule and where guidance acts.

    `guidance_scale`: 0 is off. `rule`: "raw" multiplies the gradient (the paper's s); "relative"
    gives every picture a shift whose norm is that share of the noise's own. The interval is in
    shares of the host's schedule, 0 at the start.
    """

    guidance_scale: float
    rule: str = "raw"
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"scale rule is one of {', '.join(RULES)}, got {self.rule!r}")
        if not math.isfinite(self.guidance_scale):
            raise ValueError(f"guidance_scale is a finite number, got {self.guidance_scale}")
        if not 0 <= self.start_percent <= 1 or not 0 <= self.end_percent <= 1:
            raise ValueError(
                f"start and end of guidance lie in [0, 1], got {self.start_percent} and "
                f"{self.end_percent}"
            )

    @property
    def is_off(self) -> bool:
        return self.guidance_scale == 0 or self.start_percent >= self.end_percent


def raw_shift(score: Tensor, sigma_ve: Tensor, scale: float, share: Tensor | float = 1.0) -> Tensor:
    """scale * sigma_ve^2 / sqrt(1 + sigma_ve^2) * score.

    `score` is the gradient in x_vp. For every family this equals the classifier guidance of DDIM,
    eps - sqrt(1 - alpha_bar) score (Dhariwal & Nichol, 2021, algorithm 2).
    """
    return scale * per_sample(sigma_ve.square() / (1 + sigma_ve.square()).sqrt(), score) * score


def relative_shift(
    score: Tensor, sigma_ve: Tensor, scale: float, share: Tensor | float = 1.0
) -> Tensor:
    """The score's direction; in eps its norm is `scale` sqrt(1 - alpha_bar) times eps' own.

    Norms are per picture, and eps' is its expectation, sqrt(number of values), in the `share` of
    the picture that is guided (compare FreeDoM's rule, Yu et al., 2023). No shift is larger than
    data is (mean square 1): near pure noise a share of the noise is many times that, and a flow
    sampler, whose first step takes nearly all noise away, would keep it.
    """
    size = torch.minimum(scale * noise_norm(score, sigma_ve, share), data_norm(score, share))
    return per_sample(size / norms(score), score) * score


RULES = {"raw": raw_shift, "relative": relative_shift}


def norms(values: Tensor) -> Tensor:
    """(B, ...) -> (B,), per picture, never 0."""
    return torch.linalg.vector_norm(values.flatten(1), dim=1).clamp(min=1e-20)


def noise_norm(like: Tensor, sigma_ve: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """What a shift of `denoised`, shaped `like` (B, ...), has for a norm if it undoes all noise.

    In eps: sqrt(1 - alpha_bar) times the expected norm of eps. `share`: of the picture, in [0, 1].
    """
    return (like[0].numel() * share) ** 0.5 * sigma_ve.square() / (1 + sigma_ve.square()).sqrt()


def data_norm(like: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """The norm of data shaped `like` (B, ...), whose values have a mean square of 1: ()."""
    return torch.as_tensor(like[0].numel() * share, dtype=like.dtype, device=like.device).sqrt()


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
    count from the end, and none named means all.
    """

    momentum: float = 0.0
    second_moment: float = 0.0
    max_norm: float = 0.0
    every: int = 1
    gives_way: bool = False
    region: Tensor | None = None
    frames: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("momentum", "second_moment"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.max_norm < math.inf:
            raise ValueError(f"max_norm is 0 (no limit) or above, got {self.max_norm}")
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
        length = x.shape[2]
        if wrong := [frame for frame in self.frames if not -length <= frame < length]:
            raise ValueError(
                f"frame {wrong[0]} is to be guided, the latent has frames 0 to {length - 1}"
            )
        return x[:, :, [frame % length for frame in self.frames]]

    def limit(self, shift: Tensor, sigma_ve: Tensor, share: Tensor | float) -> Tensor:
        if not self.max_norm:
            return shift
        allowed = self.max_norm * noise_norm(shift, sigma_ve, share) / norms(shift)
        return per_sample(allowed.clamp(max=1.0), shift) * shift


AS_IT_IS = Shaping()


class Moments:
    """Moving averages of the gradients of one run, free of the bias of a short history."""

    def __init__(self, shaping: Shaping):
        self._decays = (shaping.momentum, shaping.second_moment)
        self.reset()

    def reset(self) -> None:
        self._averages: list[Tensor] = []
        self._steps = 0

    def update(self, gradient: Tensor) -> Tensor:
        """The gradient to use in place of `gradient` (B, ...)."""
        if not any(self._decays):
            return gradient
        if self._averages and self._averages[0].shape != gradient.shape:
            self.reset()
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


def without_conflict(shift: Tensor, earlier: Tensor) -> Tensor:
    """`shift` (B, ...) without what opposes `earlier`, picture by picture."""
    dot = (shift * earlier).flatten(1).sum(dim=1)
    return shift - per_sample((dot / norms(earlier).square()).clamp(max=0.0), shift) * earlier
