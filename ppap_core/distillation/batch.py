"""A batch: what the experts read of random pictures at random noise, and the teacher's answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..noise import NoiseRange, add_noise, sample_sigma_ve
from .settings import DistillSettings
from .shown import Shown
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
    """`image`: (B, C, h, w), what the student's network takes, of pictures of `sides` (h, w).
    `answer`: (B, ...), the teacher's. `weight`: the piece's share of the batch.
    """

    image: Tensor
    sides: tuple[int, int]
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


class Lessons:
    """Batches of `data`, read by `read`, after a Guider's `preprocessing`."""

    def __init__(self, data: TrainingSet, read: Reader, preprocessing: Callable[[Tensor], Tensor]):
        self.data, self.read, self.preprocessing = data, read, preprocessing
        if data.estimates:
            self.shown = Shown(data.estimates, read.view, preprocessing)

    @torch.no_grad()
    def batch(
        self, noise_range: NoiseRange, settings: DistillSettings, seed: int, device: torch.device
    ) -> Batch:
        """This process' share of a batch of `settings.batch_size`; `seed` decides all of it."""
        num = settings.batch_size
        generator = torch.Generator().manual_seed(seed)
        random_pictures = self._estimates if self.data.estimates else self._noise
        chosen, sigma_ve, image_of = random_pictures(noise_range, num, generator, device)
        pieces, cuts = [], share_of(num, settings.accumulation)
        for cut in cuts:
            answer = self.data.answers[chosen[cut]].to(device).float()
            pieces.append(Piece(*image_of(cut), answer, len(answer) / num))
        mine = slice(cuts[0].start, cuts[-1].stop) if cuts else slice(0)
        return Batch(pieces, chosen[mine], sigma_ve[mine])

    def _noise(
        self, noise_range: NoiseRange, num: int, generator: torch.Generator, device: torch.device
    ) -> "RandomPictures":
        """Random pictures with fresh noise."""
        chosen = torch.randint(len(self.data), (num,), generator=generator)
        sigma_ve = sample_sigma_ve(noise_range, num, generator).to(device)
        x_0 = self.data.x_0(chosen).to(device)
        noise = torch.Generator(device).manual_seed(generator.initial_seed())
        eps = torch.randn(x_0.shape, generator=noise, device=device)

        def image_of(cut: slice) -> tuple[Tensor, tuple[int, int]]:
            image = self.read(x_0[cut], sigma_ve[cut], eps[cut])
            return self.preprocessing(image), tuple(image.shape[-2:])

        return RandomPictures(chosen, sigma_ve, image_of)

    def _estimates(
        self, noise_range: NoiseRange, num: int, generator: torch.Generator, device: torch.device
    ) -> "RandomPictures":
        """Random ones of the estimates that were kept in `noise_range`."""
        pictures, columns = self.data.estimates.within(noise_range)
        random = torch.randint(len(pictures), (num,), generator=generator)
        chosen, columns = pictures[random], columns[random]

        def image_of(cut: slice) -> tuple[Tensor, tuple[int, int]]:
            return self.shown(noise_range, chosen[cut], columns[cut], device)

        return RandomPictures(chosen, self.data.estimates.sigma_ve[chosen, columns], image_of)


class RandomPictures(NamedTuple):
    """Rows of the training set (B,), their noise levels (B,), and what is read of some of them:
    as in a Piece, with the sides.
    """

    chosen: Tensor
    sigma_ve: Tensor
    image_of: Callable[[slice], tuple[Tensor, tuple[int, int]]]
