"""Spectra against closed forms: phases kept, magnitudes raised, Wiener's posterior mean."""

import pytest
import torch

from ppap_core.spectrum import DataSpectrum, whiten

SHAPES = [(2, 3, 16, 16), (2, 4, 9, 12), (2, 4, 3, 8, 10)]


def random_gradient(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_power_one_is_the_gradient_itself(shape):
    gradient = random_gradient(shape)
    assert whiten(gradient, 1) is gradient


@pytest.mark.parametrize("power", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_magnitudes_are_raised_and_phases_stay(shape, power):
    """As numpy-like arithmetic on the full transform says, up to one factor per picture."""
    gradient = random_gradient(shape)
    got = torch.fft.fft2(whiten(gradient, power))
    waves = torch.fft.fft2(gradient)
    expected = torch.polar(waves.abs() ** power, waves.angle())
    factor = (got.abs().flatten(1).sum(1) / expected.abs().flatten(1).sum(1)).reshape(
        -1, *[1] * (len(shape) - 1)
    )
    torch.testing.assert_close(
        got, factor * expected, rtol=1e-3, atol=1e-3 * float(got.abs().max())
    )


def test_a_picture_is_whitened_alone():
    gradient = random_gradient((3, 3, 8, 8))
    gradient[1] *= 1e3
    alone = torch.cat([whiten(one, 0.0) for one in gradient.split(1)])
    torch.testing.assert_close(whiten(gradient, 0.0), alone)


def test_a_vanished_gradient_stays_so():
    assert whiten(torch.zeros(1, 3, 8, 8), 0.0).eq(0).all()


def test_rounding_is_not_raised():
    """A smooth gradient has empty frequencies; their rounding must not become noise."""
    wave = torch.cos(torch.arange(32) * 2 * torch.pi * 3 / 32).expand(1, 1, 32, 32).contiguous()
    white = whiten(wave, 0.0)
    cosine = torch.nn.functional.cosine_similarity(white.flatten(), wave.flatten(), dim=0)
    assert cosine > 0.99


def coloured_noise(density, num, size, seed=0):
    """Stationary Gaussian states with that density (rfft2's frequencies)."""
    white = torch.randn(num, 1, *size, generator=torch.Generator().manual_seed(seed))
    return torch.fft.irfft2(torch.fft.rfft2(white) * density.sqrt(), s=size)


def test_a_measured_spectrum_is_that_of_the_data():
    spectrum = DataSpectrum.generic()
    states = coloured_noise(spectrum.at((32, 32)), 400, (32, 32))
    found = DataSpectrum.of_states(states).at((32, 32))
    inner = torch.ones_like(found, dtype=torch.bool)
    inner[0, 0] = False  # the mean was taken out
    ratio = (found / spectrum.at((32, 32)))[inner]
    assert ratio.log().abs().mean() < 0.15


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (9, 12)])
def test_the_mean_density_is_one_at_every_size(size):
    whole = torch.fft.fft2(torch.zeros(size)).abs()  # only its shape
    density = DataSpectrum.generic().at(size)
    mirrored = torch.cat([density, density[:, 1 : (size[1] + 1) // 2]], dim=1)
    assert mirrored.shape == whole.shape
    assert float(mirrored.mean()) == pytest.approx(1.0, rel=0.35)


def test_wiener_is_the_posterior_mean_of_stationary_data():
    """E[x_0 | x_0 + sigma n] of Gaussian data: the regression of data on noisy data."""
    spectrum, sigma = DataSpectrum.generic(), torch.full((2000,), 0.7)
    density = spectrum.at((16, 16))
    x_0 = coloured_noise(density, 2000, (16, 16))
    noisy = x_0 + 0.7 * random_gradient(x_0.shape, seed=1)
    error = (spectrum.wiener(noisy, sigma) - x_0).square().mean()
    posterior = density * 0.7**2 / (density + 0.7**2)
    mirrored = torch.cat([posterior, posterior[:, 1:8]], dim=1)
    assert float(error) == pytest.approx(float(mirrored.mean()), rel=0.05)


def test_an_impossible_spectrum_is_refused():
    with pytest.raises(ValueError, match="positive values"):
        DataSpectrum((1.0, float("nan")))
