"""The colours of a picture, wherever they are."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import own_mask
from .lab import image_to_lab
from .picture_target import PictureTarget
from .pictures import average
from .wasserstein import directions, quantile_means

NUM_DIRECTIONS = 8
LONGEST = 128  # pixels: a side of what is compared


@dataclass(frozen=True, eq=False)
class PaletteTarget(PictureTarget):
    """Minus the squared sliced 2-Wasserstein distance of both pictures' pixels, in L*a*b*.

    Along each of some directions in the space of colours, the pixels of both are sorted and
    compared (Bonneel et al., 2015). `mask`: whose pixels count, (R or 1, H, W), above one half.
    Three times the mean over directions: for a picture whose colours are all moved by one vector,
    its squared length, Delta E squared.
    """

    mask: Tensor | None = None
    _sorted: tuple[Tensor, ...] = field(default=(), init=False, repr=False)
    # number of pixels -> the reference's: only those of the last size are kept
    _wanted: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _last: dict[str, object] = field(default_factory=dict, init=False, repr=False)
    words = (
        "the palette was {} away from the reference's, now {} (in Lab; 0 is the same)",
        "palette distance {} -> {} (Lab)",
        "palette distance (Lab)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        mask = own_mask(self.mask, self.reference[:, 0])
        counts = mask.expand(self.num_rows, -1, -1) > 0.5
        if not counts.flatten(1).any(1).all():
            raise ValueError("the mask is empty: paint where the reference's colours count")
        with torch.inference_mode(False):
            size = _compared(self.reference.shape[-2:])
            small = image_to_lab(average(self.reference, size))
            shown = average(counts[:, None].float(), size)[:, 0] > 0.5
            shown |= ~shown.flatten(1).any(1)[:, None, None]  # too thin a mask: all of it
            rows = tuple(
                _project(lab[:, row][None])[0] for lab, row in zip(small, shown, strict=True)
            )
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "_sorted", rows)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: pictures (B, 3, h, w) in about [-1, 1] -> (B,), in float32.

        In hundreds of Delta E, squared.
        """
        distance = self.error(prediction)
        self._last.update(of=weakref.ref(prediction), distance=distance.detach())
        return -distance / 100**2

    def agreement(self, prediction: Tensor) -> Tensor:
        """The distance of the palettes in Delta E; 0 is the same: (B, 3, h, w) -> (B,)."""
        if self._last and self._last["of"]() is prediction:  # sorting takes the most time
            return self._last["distance"].sqrt()
        return self.error(prediction).sqrt()

    def _error(self, pictures: Tensor) -> Tensor:
        """In Delta E, squared."""
        lab = image_to_lab(average(pictures, _compared(pictures.shape[-2:])))
        seen = _project(lab.flatten(2))
        num = seen.shape[-1]
        if num not in self._wanted:
            self._wanted.clear()
            with torch.inference_mode(False):
                self._wanted[num] = torch.stack([quantile_means(r, num) for r in self._sorted])
        return 3 * (seen - self._wanted[num].to(seen.device)).square().mean((1, 2))


def _compared(size: Sequence[int]) -> tuple[int, int]:
    """The size at which a picture of `size` is compared."""
    scale = min(1.0, LONGEST / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _project(colours: Tensor) -> Tensor:
    """(B, 3, N) -> their places along each direction, sorted: (B, NUM_DIRECTIONS, N)."""
    return (directions(NUM_DIRECTIONS).to(colours) @ colours).sort(dim=-1).values
