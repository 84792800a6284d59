"""Estimates are decoded once, and read the same whichever batch they are in."""

import pytest
import torch
from torch import nn

from ppap_core.distillation import shown
from ppap_core.distillation.estimates import Estimates
from ppap_core.distillation.shown import Shown, num_decoded
from ppap_core.guiders import Preprocessing
from ppap_core.noise import NoiseRange

NUM, KEPT = 12, 3
BYTES = 3 * 8 * 8 * 2  # of a picture of 8 x 8, in half precision
ONE, OTHER = NoiseRange(0.1, 1.0), NoiseRange(1.0, 10.0)
CPU = torch.device("cpu")


class Decoder:
    """Twice as large, and counts."""

    def __init__(self):
        torch.manual_seed(0)
        self.layer = nn.ConvTranspose2d(4, 3, 2, stride=2).requires_grad_(False)
        self.num = 0

    def __call__(self, state):
        self.num += len(state)
        return self.layer(state)


@pytest.fixture
def decoder():
    return Decoder()


@pytest.fixture
def estimates():
    generator = torch.Generator().manual_seed(1)
    x0_hat = torch.randn(NUM, KEPT, 4, 10, 10, generator=generator).half()
    return Estimates(torch.ones(NUM, KEPT), x0_hat)


def random_rows(num, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(high, (num,), generator=generator) for high in (NUM, KEPT)]


PREPROCESSING = Preprocessing((8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def test_each_is_decoded_once_and_preprocessed_as_by_the_guider(estimates, decoder):
    seen = Shown(estimates, decoder, PREPROCESSING)
    asked = set()
    for seed in range(10):
        pictures, columns = random_rows(8, seed)
        asked |= set(zip(pictures.tolist(), columns.tolist(), strict=True))
        image, sides = seen(ONE, pictures, columns, CPU)
        whole = decoder.layer(estimates.x0_hat[pictures, columns].float())
        torch.testing.assert_close(image, PREPROCESSING(whole), atol=2e-3, rtol=1e-3)
        assert sides == tuple(whole.shape[-2:]) == (20, 20)
    assert decoder.num == len(asked)


def test_a_picture_is_the_same_bits_in_every_batch_and_remembered_or_not(estimates, monkeypatch):
    """By a decoder that draws noise of its own, as LTX-Video's."""
    monkeypatch.setattr(shown, "MOST_BYTES", 5 * BYTES)
    decoder = Decoder()
    noisy = Shown(estimates, lambda x: decoder(x + torch.randn_like(x)), PREPROCESSING)
    pictures, columns = torch.arange(NUM), torch.zeros(NUM, dtype=torch.long)
    whole, _ = noisy(OTHER, pictures, columns, CPU)
    for _ in range(2):
        decoder.num = 0
        for rows in torch.arange(NUM).split(5):
            torch.rand(7)
            part, _ = noisy(ONE, pictures[rows], columns[rows], CPU)
            assert part.equal(whole[rows])
    assert decoder.num == NUM - 5


@pytest.mark.parametrize("capacity", [0, 9, 30, 36, 1000])
def test_how_many_will_be_decoded_is_known_before(estimates, decoder, monkeypatch, capacity):
    monkeypatch.setattr(shown, "MOST_BYTES", capacity * BYTES)
    seen = Shown(estimates, decoder, PREPROCESSING)
    for seed in range(60):
        seen(ONE, *random_rows(2, seed), CPU)
    assert decoder.num == pytest.approx(num_decoded(120, NUM * KEPT, BYTES), rel=0.1)
