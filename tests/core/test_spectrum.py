"""Spectra against closed forms: phases kept, magnitudes raised, Wiener's posterior mean."""

import pytest
import torch

from ppap_core.jacobian import without_jacobian
from ppap_core.spectrum import GENERIC, SPECTRA, DataSpectrum, whiten
from ppap_core.strength import norms, raw_shift

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


@pytest.mark.parametrize("power", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_whitened_gradient_keeps_its_length(shape, power):
    gradient = random_gradient(shape) * torch.tensor([1e-6, 1e3]).view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(norms(whiten(gradient, power)), norms(gradient))


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
    """Stationary Gaussian states with that density (at rfft2's frequencies)."""
    white = torch.randn(num, 1, *size, generator=torch.Generator().manual_seed(seed))
    return torch.fft.irfft2(torch.fft.rfft2(white) * density.sqrt(), s=size)


def mirrored(half, width):
    """rfft2's half of a plane of frequencies -> all of it."""
    return torch.cat([half, half[:, 1 : (width + 1) // 2]], dim=1)


def test_a_measured_spectrum_is_that_of_the_data():
    density = 0.3 * GENERIC.at((32, 32))
    found = DataSpectrum.of_states(coloured_noise(density, 400, (32, 32)).split(64)).at((32, 32))
    inner = torch.ones_like(found, dtype=torch.bool)
    inner[:2, :2] = False  # below the first band, and the mean
    assert (found / density)[inner].log().abs().mean() < 0.15


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (7, 1), (2, 2), (3, 5)])
def test_small_planes_have_a_spectrum_too(size):
    """That of white data of variance 1, measured in parts."""
    states = random_gradient((400, 4, *size))
    spoilt = states[:8].clone()
    spoilt[0, 0, 0, 0] = float("nan")  # is left out
    found = DataSpectrum.of_states([states[:150], states[150:], spoilt]).density
    assert all(value == pytest.approx(1, abs=0.15) for value in found)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (4, 4), (32, 32)])
def test_the_mean_of_a_plane_has_the_density_of_its_lowest_frequency(size):
    """On a 4 x 4 latent frequency 0 itself would outweigh all others by seventy times."""
    density = GENERIC.at(size)
    assert density[0, 0] == density.max()
    assert density.numel() == 1 or (density == density.max()).sum() > 1


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (9, 12)])
def test_the_generic_density_has_variance_one_at_every_size(size):
    density = mirrored(GENERIC.at(size), size[1])
    assert density.shape == size
    assert float(density.mean()) == pytest.approx(1.0, rel=0.35)


def test_the_jacobian_is_that_of_the_posterior_mean_of_stationary_data():
    """E[x_0 | x_vp] is linear there: J x_vp itself, the regression of data on noisy data."""
    sigma = 0.7
    density = GENERIC.at((16, 16))
    x_0 = coloured_noise(density, 2000, (16, 16))
    x_vp = (x_0 + sigma * random_gradient(x_0.shape, seed=1)) / (1 + sigma**2) ** 0.5
    estimate = GENERIC.jacobian(x_vp, torch.full((2000,), sigma))
    error = (estimate - x_0).square().mean()
    posterior = mirrored(density * sigma**2 / (density + sigma**2), 16)
    assert float(error) == pytest.approx(float(posterior.mean()), rel=0.05)


def test_white_data_of_variance_one_give_no_jacobian():
    g, sigma_ve = random_gradient((2, 3, 8, 8)), torch.tensor([0.5, 20.0])
    white = DataSpectrum((1.0, 1.0))
    torch.testing.assert_close(
        white.jacobian(g, sigma_ve), without_jacobian(g, g, sigma_ve, g, None)
    )
    torch.testing.assert_close(white.wiener(g, sigma_ve, 0.5), g)


@pytest.mark.parametrize("shape", SHAPES)
def test_half_wiener_twice_is_wiener_and_none_is_the_gradient(shape):
    g, sigma_ve = random_gradient(shape), torch.tensor([0.5, 20.0])
    half, whole = SPECTRA["half-wiener"], SPECTRA["wiener"](g, sigma_ve, GENERIC)
    torch.testing.assert_close(half(half(g, sigma_ve, GENERIC), sigma_ve, GENERIC), whole)
    torch.testing.assert_close(GENERIC.wiener(g, sigma_ve, 0.0), g)


@pytest.mark.parametrize(("waves", "sigma"), [(1, 0.3), (1, 50.0), (12, 0.3), (12, 50.0)])
def test_half_wiener_shortens_a_wave_by_what_an_ideal_denoiser_passes(waves, sigma):
    """Where data have much, noise leaves a gradient longer; where they have little, shorter."""
    wave = torch.cos(torch.arange(32) * 2 * torch.pi * waves / 32).expand(1, 1, 32, 32)
    density = float(GENERIC.at((32, 32))[0, waves])
    passed = density / (density + sigma**2) / (1 / (1 + sigma**2))  # of data, of white data
    found = GENERIC.wiener(wave, torch.tensor([sigma]), 0.5)
    torch.testing.assert_close(found, passed**0.5 * wave, rtol=1e-4, atol=1e-4)


def test_guided_samples_of_stationary_data_have_the_posteriors_mean():
    """Data N(0, S), observation y = x_0 + noise, by Euler steps with the exact denoiser."""
    size, tau = (16, 16), 0.5
    density = GENERIC.at(size)
    y = coloured_noise(density, 1, size, seed=5)
    sigmas = [*torch.logspace(2, -2, 150).tolist(), 0.0]
    x = sigmas[0] * random_gradient((64, 1, *size))

    def filtered(x, gain):
        return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=size)

    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        denoised = filtered(x, density / (density + sigma**2))
        uncertain = density * sigma**2 / (density + sigma**2)
        g = filtered(y - denoised, 1 / (uncertain + tau**2))  # of log p(y | x_0_hat)
        sigma_ve = torch.full((len(x),), sigma)
        shift = raw_shift(GENERIC.jacobian(g, sigma_ve), sigma_ve, 1.0)
        denoised = denoised + shift
        x = denoised + (x - denoised) * following / sigma
    posterior = filtered(y, density / (density + tau**2))
    deviation = float(mirrored(density * tau**2 / (density + tau**2), 16).mean().sqrt())
    assert (x.mean(dim=0) - posterior[0]).square().mean().sqrt() < 0.2 * deviation
    assert float(x.var(dim=0).mean().sqrt()) == pytest.approx(deviation, rel=0.05)


def test_an_impossible_spectrum_is_refused():
    with pytest.raises(ValueError, match="positive values"):
        DataSpectrum((1.0, float("nan")))
