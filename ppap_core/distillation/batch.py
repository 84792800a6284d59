"""A batch: random clean states with noise, read by the experts, and the teacher's answers."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..noise import NoiseRange, add_noise, sample_sigma_ve
from .settings import DistillSettings
from .training_set import TrainingSet
from .workers import share_of

# (x_0, sigma_ve, eps) -> the image that the guider reads, (B, 3, H, W) in [-1, 1]
Reader = Callable[[Tensor, Tensor, Tensor], Tensor]


def read_x_t(view: Callable[[Tensor], Tensor] = lambda x_vp: x_vp) -> Reader:
    """The paper's input: the noisy state itself, through a view."""
    return lambda x_0, sigma_ve, eps: view(add_noise(x_0, sigma_ve, eps))


class Piece(NamedTuple):
    """`image`: (B, 3, H, W) in [-1, 1], what the student sees. `answer`: (B, ...), the teacher's.
    `weight`: the piece's share of the batch.
    """

    image: Tensor
    answer: Tensor
    weight: float


class Batch(NamedTuple):
    """This process' share of a batch in pieces; the images and noise levels (B,) in it."""

    pieces: list[Piece]
    chosen: Tensor
    sigma_ve: Tensor

    def first_problem(self) -> str:
        """Which image is not finite, for an error message; else where the batch begins."""
        images = [image for piece in self.pieces for image in piece.image]
        bad = [i for i, image in enumerate(images) if not image.isfinite().all()]
        first = bad[0] if bad else 0
        named = f"image {int(self.chosen[first])} at sigma {self.sigma_ve[first]:.3g}"
        return named if bad else f"the batch that begins with {named}"


@torch.no_grad()
def random_batch(
    data: TrainingSet,
    noise_range: NoiseRange,
    settings: DistillSettings,
    read: Reader,
    seed: int,
    device: torch.device,
) -> Batch:
    """This process' share of a batch of `settings.batch_size`; `seed` decides all of it."""
    num = settings.batch_size
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(data), (num,), generator=generator)
    sigma_ve = sample_sigma_ve(noise_range, num, generator).to(device)
    x_0 = data.x_0(chosen).to(device)
    noise = torch.Generator(device).manual_seed(seed)
    eps = torch.randn(x_0.shape, generator=noise, device=device)
    pieces, cuts = [], share_of(num, settings.accumulation)
    for cut in cuts:
        answer = data.answers[chosen[cut]].to(device).float()
        image = read(x_0[cut], sigma_ve[cut], eps[cut])
        pieces.append(Piece(image, answer, len(answer) / num))
    mine = slice(cuts[0].start, cuts[-1].stop) if cuts else slice(0)
    return Batch(pieces, chosen[mine], sigma_ve[mine])
