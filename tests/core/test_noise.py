"""Noise levels against numpy, ComfyUI's own arithmetic, and the laws that the formulas promise."""

import numpy
import pytest
import torch

from ppap_core.noise import (
    NoiseRange,
    add_noise,
    check_ranges,
    find_range,
    partition_by_log_snr,
    partition_by_timestep,
    sample_sigma_ve,
    sigma_ve_to_timestep,
    timestep_to_sigma_ve,
)


def ddpm_alphas_bar():
    """Ho et al., 2020, section 4: 1000 betas from 1e-4 to 0.02, in numpy."""
    return numpy.cumprod(1 - (1e-4 + (0.02 - 1e-4) * numpy.arange(1000) / 999))


def comfy_sigmas():
    """As ComfyUI's ModelSamplingDiscrete holds them: schedule "sqrt_linear", then float32."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    return (((1 - alphas_cumprod) / alphas_cumprod) ** 0.5).float()


def test_sigma_ve_is_noise_over_signal_of_ddpm_linear():
    alphas_bar = ddpm_alphas_bar()
    expected = numpy.sqrt(1 - alphas_bar) / numpy.sqrt(alphas_bar)
    got = timestep_to_sigma_ve(torch.arange(1000)).numpy()
    numpy.testing.assert_allclose(got, expected, rtol=1e-9)


def test_timestep_to_sigma_ve_and_back_is_the_identity():
    timestep = torch.linspace(0, 999, 4321, dtype=torch.float64)
    back = sigma_ve_to_timestep(timestep_to_sigma_ve(timestep))
    torch.testing.assert_close(back, timestep, rtol=0, atol=1e-8)


def test_fractional_timesteps_interpolate_log_sigma():
    ends = timestep_to_sigma_ve(torch.tensor([300, 301]))
    middle = timestep_to_sigma_ve(torch.tensor(300.5))
    torch.testing.assert_close(middle, ends.prod().sqrt())


def test_noise_beyond_the_schedule_goes_to_its_ends():
    timesteps = sigma_ve_to_timestep(torch.tensor([0.0, 1e-6, 1e6]))
    assert timesteps.tolist() == [0, 0, 999]


@pytest.mark.parametrize("num_experts", [5, 10])
@pytest.mark.parametrize("sigmas", [comfy_sigmas(), comfy_sigmas().log().exp()])
def test_every_timestep_belongs_to_the_papers_expert(num_experts, sigmas):
    """Expert n owns [1000 n / N, 1000 (n + 1) / N): a boundary belongs to the upper expert."""
    ranges = partition_by_timestep(num_experts)
    owners = [find_range(ranges, float(sigma)) for sigma in sigmas]
    assert owners == [t * num_experts // 1000 for t in range(1000)]


@pytest.mark.parametrize("partition", [partition_by_timestep, partition_by_log_snr])
@pytest.mark.parametrize("num_experts", [1, 3, 5, 10])
def test_ranges_of_a_partition_are_contiguous(partition, num_experts):
    ranges = partition(num_experts)
    check_ranges(ranges)
    assert len(ranges) == num_experts


def test_log_snr_partition_has_equal_shares():
    widths = [numpy.log(r.high / r.low) for r in partition_by_log_snr(4, low=0.1, high=10.0)]
    numpy.testing.assert_allclose(widths, numpy.log(100) / 4, rtol=1e-9)


def test_boundary_belongs_to_the_upper_range():
    ranges = [NoiseRange(0.1, 1.0), NoiseRange(1.0, 10.0)]
    assert 1.0 not in ranges[0] and 1.0 in ranges[1]
    assert [find_range(ranges, s) for s in (0.1, 0.999, 1.0, 9.0)] == [0, 0, 1, 1]


def test_beyond_the_outer_ends_the_nearest_expert_answers():
    ranges = [NoiseRange(0.1, 1.0), NoiseRange(1.0, 10.0)]
    assert [find_range(ranges, s) for s in (0.0, 0.05, 10.0, 1e9)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0.1, 1.0), (1.5, 2.0)], "leave a gap"),
        ([(0.1, 1.0), (0.9, 2.0)], "overlap"),
        ([(1.0, 2.0), (0.1, 1.0)], "overlap"),
        ([], "at least one expert"),
    ],
)
def test_ranges_with_gaps_or_overlaps_are_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        check_ranges([NoiseRange(*pair) for pair in edges])


@pytest.mark.parametrize(
    "edges", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)]
)
def test_an_impossible_range_is_refused(edges):
    with pytest.raises(ValueError, match="0 <= low < high"):
        NoiseRange(*edges)


def test_random_noise_is_uniform_in_timesteps_and_inside_the_range():
    noise_range = partition_by_timestep(5)[1]
    generator = torch.Generator().manual_seed(0)
    drawn = sample_sigma_ve(noise_range, 20_000, generator).double()
    low, high = noise_range.low * (1 - 1e-6), noise_range.high * (1 + 1e-6)
    assert low <= drawn.min() and drawn.max() <= high
    ends = torch.tensor([noise_range.low, noise_range.high])
    axis = sigma_ve_to_timestep
    share = ((axis(drawn) - axis(ends)[0]) / axis(ends).diff()).sort().values
    kolmogorov_smirnov = (share - torch.arange(1, 20_001) / 20_000).abs().max()
    assert kolmogorov_smirnov < 1.63 / 20_000**0.5  # the 1 % level


@pytest.mark.parametrize("timestep", [0, 250, 999])
def test_noisy_state_has_ddpms_mean_and_variance(timestep):
    """q(x_t | x_0) = N(sqrt(abar) x_0, 1 - abar)."""
    alpha_bar = ddpm_alphas_bar()[timestep]
    x_0 = torch.tensor([-0.8, 0.3]).reshape(2, 1, 1, 1).expand(2, 1, 300, 300)
    sigma_ve = timestep_to_sigma_ve(torch.tensor([timestep, timestep])).float()
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    x_t = add_noise(x_0, sigma_ve, eps)
    torch.testing.assert_close(
        x_t, (alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * eps).float(), rtol=1e-4, atol=1e-5
    )
    variance = x_t.flatten(1).var(dim=1)
    torch.testing.assert_close(
        variance, torch.full((2,), float(1 - alpha_bar)), rtol=0.02, atol=1e-9
    )


def test_each_picture_gets_its_own_noise_level():
    x_0 = torch.zeros(2, 3, 4, 4)
    x_t = add_noise(x_0, torch.tensor([0.0, 1.0]), torch.ones_like(x_0))
    assert x_t[0].eq(0).all()
    torch.testing.assert_close(x_t[1], torch.full((3, 4, 4), 0.5**0.5))
