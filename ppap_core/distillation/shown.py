"""Estimates as a guider's network takes them: decoded and resized once, not for every batch."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..noise import NoiseRange
from .estimates import Estimates

MOST_BYTES = 2 << 30  # of pictures that are remembered


class Shown:
    """Of `estimates`, by the `view` of a Reader and the `preprocessing` of a Guider.

    Those of one noise range are remembered, in half precision, up to MOST_BYTES. Each is decoded by
    itself, so that it does not depend on the batch it is in, and a training that resumes reads the
    same.
    """

    def __init__(
        self,
        estimates: Estimates,
        view: Callable[[Tensor], Tensor],
        preprocessing: Callable[[Tensor], Tensor],
    ):
        self.estimates, self.view, self.preprocessing = estimates, view, preprocessing
        self._sides = (0, 0)
        self._range: NoiseRange | None = None
        self._remembered: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def __call__(
        self, noise_range: NoiseRange, pictures: Tensor, columns: Tensor, device: torch.device
    ) -> tuple[Tensor, tuple[int, int]]:
        """What the network takes (B, C, h, w) for the estimates at `pictures`, `columns` (B,), and
        the sides (h, w) of the pictures that it was made of.
        """
        if noise_range != self._range:
            self._range, self._remembered = noise_range, {}
        wanted = list(zip(pictures.tolist(), columns.tolist(), strict=True))
        missing = [one for one in dict.fromkeys(wanted) if one not in self._remembered]
        found = self._read(missing, device)
        images = torch.stack([found[o] if o in found else self._remembered[o] for o in wanted])
        for one, image in found.items():
            if (len(self._remembered) + 1) * image.nbytes <= MOST_BYTES:
                self._remembered[one] = image
        return images.to(device).float(), self._sides

    def _read(self, missing: list[tuple[int, int]], device: torch.device) -> dict:
        if not missing:
            return {}
        found, states = {}, self.estimates.x0_hat[torch.tensor(missing).unbind(1)]
        with torch.random.fork_rng():
            for one, state in zip(missing, states, strict=True):
                torch.manual_seed(one[0] * 1_009 + one[1])  # for decoders that draw: LTX-Video's
                image = self.view(state[None].to(device).float())
                self._sides = tuple(image.shape[-2:])
                found[one] = self.preprocessing(image)[0].half().cpu()
        return found


def num_decoded(num_read: int, num_estimates: int, image_bytes: int) -> float:
    """How many are decoded, on average, when `num_read` times a random one of them is shown."""
    room = min(num_estimates, MOST_BYTES // image_bytes)
    if num_estimates == 1:
        return 1 if room else num_read
    missed = math.log1p(-1 / num_estimates)  # of one that is not remembered yet: log probability
    full = math.log1p(-room / num_estimates) / missed if room < num_estimates else math.inf
    if num_read <= full:
        return num_estimates * -math.expm1(num_read * missed)
    return room + (num_read - full) * (1 - room / num_estimates)
