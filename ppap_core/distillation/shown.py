"""Estimates as a guider's network takes them: decoded and resized once, not for every batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from .estimates import Estimates

MOST_BYTES = 2 << 30  # of pictures that are remembered


class Shown:
    """Of `estimates`, by the `view` of a Reader and the `preprocessing` of a Guider.

    The last MOST_BYTES of them are remembered, in half precision. Each is decoded by itself, so
    that it does not depend on the batch it is in, and a training that resumes reads the same.
    """

    def __init__(
        self,
        estimates: Estimates,
        view: Callable[[Tensor], Tensor],
        preprocessing: Callable[[Tensor], Tensor],
    ):
        self.estimates, self.view, self.preprocessing = estimates, view, preprocessing
        self.sides = (0, 0)  # of the pictures before the preprocessing, (h, w)
        self._remembered: dict[tuple[int, int], Tensor] = {}
        self._num_bytes = 0

    @torch.no_grad()
    def __call__(self, pictures: Tensor, columns: Tensor, device: torch.device) -> Tensor:
        """What the network takes (B, C, h, w) for the estimates at `pictures`, `columns` (B,)."""
        wanted = list(zip(pictures.tolist(), columns.tolist(), strict=True))
        missing = list(dict.fromkeys(one for one in wanted if one not in self._remembered))
        found = dict(zip(missing, self._read(missing, device), strict=True))
        images = [found[one] if one in found else self._remembered[one] for one in wanted]
        for one, image in found.items():
            self._remember(one, image)
        return torch.stack(images).to(device).float()

    def _read(self, missing: list[tuple[int, int]], device: torch.device) -> list[Tensor]:
        if not missing:
            return []
        images = []
        for x0_hat in self.estimates.x0_hat[torch.tensor(missing).unbind(1)]:
            image = self.view(x0_hat[None].to(device).float())
            self.sides = tuple(image.shape[-2:])
            images.append(self.preprocessing(image)[0].half().cpu())
        return images

    def _remember(self, one: tuple[int, int], image: Tensor) -> None:
        self._remembered[one] = image
        self._num_bytes += image.nbytes
        while self._num_bytes > MOST_BYTES:
            oldest = next(iter(self._remembered))
            self._num_bytes -= self._remembered.pop(oldest).nbytes


def num_decoded(num_read: int, num_estimates: int, image_bytes: int) -> float:
    """How many are decoded, on average, when `num_read` times a random one of them is shown."""
    share = MOST_BYTES / max(1, image_bytes * num_estimates)
    if share < 1:
        return num_read * (1 - share)
    return num_estimates * (1 - (1 - 1 / num_estimates) ** num_read)
