"""A batch: what the experts read of random pictures at random noise, and the teacher's answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..noise import NoiseRange, add_noise, sample_sigma_ve
from .settings import DistillSettings
from .training_set import TrainingSet
from .workers import share_of


@dataclass(frozen=True)
class Reader:
    """How experts read: `noised` from clean states, `view` from estimates that were kept.

    `noised`: (x_0, sigma_ve, eps) -> x_t, or a fresh estimate, (B, C, ...). `view`: (B, C, ...) ->
    the image that the guider reads, (B, 3, H, W) in [-1, 1].
    """

    noised: Callable[[Tensor, Tensor, Tensor], Tensor] = add_noise
    view: Callable[[Tensor], Tensor] = lambda state: state

    def __call__(self, x_0: Tensor, sigma_ve: Tensor, eps: Tensor) -> Tensor:
        return self.view(self.noised(x_0, sigma_ve, eps))


FROM_NOISE = Reader()  # the paper: the noisy state of a pixel model


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
    random_pictures = random_estimates if data.estimates else random_noise
    chosen, sigma_ve, image_of = random_pictures(data, noise_range, read, num, generator, device)
    pieces, cuts = [], share_of(num, settings.accumulation)
    for cut in cuts:
        answer = data.answers[chosen[cut]].to(device).float()
        pieces.append(Piece(image_of(cut), answer, len(answer) / num))
    mine = slice(cuts[0].start, cuts[-1].stop) if cuts else slice(0)
    return Batch(pieces, chosen[mine], sigma_ve[mine])


class RandomPictures(NamedTuple):
    """Rows of the training set (B,), their noise levels (B,), and the images of some of them."""

    chosen: Tensor
    sigma_ve: Tensor
    image_of: Callable[[slice], Tensor]


def random_noise(
    data: TrainingSet,
    noise_range: NoiseRange,
    read: Reader,
    num: int,
    generator: torch.Generator,
    device: torch.device,
) -> RandomPictures:
    """Random pictures with fresh noise."""
    chosen = torch.randint(len(data), (num,), generator=generator)
    sigma_ve = sample_sigma_ve(noise_range, num, generator).to(device)
    x_0 = data.x_0(chosen).to(device)
    noise = torch.Generator(device).manual_seed(generator.initial_seed())
    eps = torch.randn(x_0.shape, generator=noise, device=device)
    return RandomPictures(chosen, sigma_ve, lambda cut: read(x_0[cut], sigma_ve[cut], eps[cut]))


def random_estimates(
    data: TrainingSet,
    noise_range: NoiseRange,
    read: Reader,
    num: int,
    generator: torch.Generator,
    device: torch.device,
) -> RandomPictures:
    """Random ones of the estimates that were kept in `noise_range`."""
    pictures, columns = data.estimates.within(noise_range)
    random = torch.randint(len(pictures), (num,), generator=generator)
    chosen, columns = pictures[random], columns[random]

    def image_of(cut: slice) -> Tensor:
        x0_hat = data.estimates.x0_hat[chosen[cut], columns[cut]]
        return read.view(x0_hat.to(device).float())

    return RandomPictures(chosen, data.estimates.sigma_ve[chosen, columns], image_of)
