"""Gradients through a denoiser, for a Gaussian prior whose denoiser is linear and exactly known."""

import math

import pytest
import torch

from ppap_core.guidance import Guidance
from ppap_core.guidance_run import GuidanceRun
from ppap_core.jacobian import JACOBIANS, backpropagation, finite_difference, without_jacobian
from ppap_core.spectrum import DataSpectrum
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget
from ppap_core.views import LinearRgb
from tests.core.test_guidance import SIDE, guider_of, linear_guider, noise, resnet_guider

SIZE = 3 * 4 * 4


def prior_covariance():
    """Of correlated values, with eigenvalues between 0.2 and 5."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))
    return axes @ torch.diag(torch.linspace(0.2, 5, SIZE, dtype=torch.float64)) @ axes.T


def denoiser_of(covariance, sigma_ve):
    """E[x_0 | x] = S (S + sigma^2)^-1 x, x = sqrt(1 + sigma^2) x_vp; the function and its J."""
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    wiener = covariance @ torch.linalg.inv(covariance + sigma_ve**2 * eye)
    jacobian = math.hypot(1, sigma_ve) * wiener

    def denoise(x_vp):
        return (x_vp.flatten(1).double() @ jacobian.T).reshape(x_vp.shape).to(x_vp)

    return denoise, jacobian


def draw(seed, batch=3):
    return torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma_ve", [0.02, 1.0, 14.6, 157.0])
@pytest.mark.parametrize("through", [finite_difference, backpropagation])
def test_jvp_and_backprop_match_the_closed_form_of_a_linear_denoiser(through, sigma_ve):
    denoise, jacobian = denoiser_of(prior_covariance(), sigma_ve)
    x_vp = draw(0)
    g = draw(1) * torch.tensor([1e-6, 1.0, 1e4]).reshape(3, 1, 1, 1)
    got = through(g, x_vp, torch.full((3,), sigma_ve), denoise(x_vp), denoise)
    expected = (g.flatten(1).double() @ jacobian).reshape(g.shape)
    errors = (got - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert errors.max() < 1e-3


@pytest.mark.parametrize("sigma_ve", [0.02, 1.0, 14.6, 157.0])
def test_jacobian_none_is_exact_for_unit_variance_data(sigma_ve):
    _, jacobian = denoiser_of(torch.eye(SIZE, dtype=torch.float64), sigma_ve)
    g = draw(1)
    expected = (g.flatten(1).double() @ jacobian).reshape(g.shape).float()
    got = without_jacobian(g, draw(0), torch.full((3,), sigma_ve), g, None)
    torch.testing.assert_close(got, expected)


def test_autograd_is_exact_for_a_denoiser_that_is_not_linear():
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 3, 3, padding=1)

    def denoise(x):
        return net(x).tanh()

    x_vp, g = draw(0), draw(1)
    got = backpropagation(g, x_vp, torch.ones(3), denoise(x_vp), denoise)
    step = 1e-2 * draw(2)
    change = (denoise(x_vp + step) - denoise(x_vp - step)) / 2
    torch.testing.assert_close((got * step).sum(), (g * change).sum(), rtol=1e-3, atol=1e-4)


def test_the_step_of_the_finite_difference_is_a_tenth_of_the_noise():
    seen = []
    x_vp, sigma_ve = draw(0), torch.full((3,), 0.75)
    finite_difference(draw(1), x_vp, sigma_ve, x_vp, lambda x: seen.append(x) or x)
    lengths = (seen[0] - x_vp).flatten(1).norm(dim=1)  # noise of x_vp: 0.75 / 1.25
    torch.testing.assert_close(lengths, torch.full((3,), 0.1 * 0.6 * SIZE**0.5))


def test_zero_gradient_stays_zero_through_jvp():
    denoise, _ = denoiser_of(prior_covariance(), 1.0)
    x_vp, g = draw(0), draw(1)
    g[1] = 0
    got = finite_difference(g, x_vp, torch.ones(3), denoise(x_vp), denoise)
    assert got[1].eq(0).all() and got.isfinite().all() and got[0].ne(0).all()


def test_a_denoiser_without_autograd_is_refused():
    x_vp = draw(0)
    with pytest.raises(ValueError, match="cannot be differentiated.*jacobian to jvp"):
        backpropagation(draw(1), x_vp, torch.ones(3), x_vp, torch.Tensor.detach)


class UnnormalisedLikelihood:
    """log p = a . x_0: its gradient in the estimate is `a`, wherever the estimate lies."""

    task = "class"

    def __init__(self, a):
        self.a = a

    def log_likelihood(self, image):
        return image.flatten(1) @ self.a


@pytest.mark.parametrize("jacobian", sorted(JACOBIANS))
def test_a_guider_that_sees_the_estimate_shifts_by_the_posterior_covariance(jacobian):
    """shift = scale Cov[x_0 | x_t] a for a log-likelihood a . x_0 and an ideal denoiser."""
    torch.manual_seed(0)
    sigma_ve, a, x_vp = 0.8, torch.randn(3 * SIDE * SIDE), noise(2)
    variance = 1.0 if jacobian == "none" else 0.3
    gain = math.hypot(1, sigma_ve) * variance / (variance + sigma_ve**2)
    guidance = Guidance(
        guider_of(torch.nn.Flatten()),
        UnnormalisedLikelihood(a),
        Strength(2.5, "raw"),
        input="x0_hat",
        jacobian=jacobian,
        data_spectrum=DataSpectrum((variance, variance)),
    )
    run = GuidanceRun(guidance)
    shift = run.shift(x_vp, torch.full((2,), sigma_ve), gain * x_vp, lambda x: gain * x)
    posterior_variance = variance * sigma_ve**2 / (variance + sigma_ve**2)
    expected = (2.5 * posterior_variance * a).reshape(1, 3, SIDE, SIDE).expand(2, -1, -1, -1)
    torch.testing.assert_close(shift, expected, rtol=1e-3, atol=1e-4)
    log_likelihood = ((gain * x_vp).flatten(1) @ a).mean()
    torch.testing.assert_close(run.records[0].log_likelihood, log_likelihood)


def test_x0_hat_guider_reads_only_the_estimate():
    """With J = identity the score of x0_hat is that of a guider shown the estimate as x_t."""
    guider, estimate = resnet_guider(), noise(2, seed=5)
    target = ClassTarget({2: 1.0}, 5)
    seen = Guidance(guider, target, Strength(1.0, "raw"), input="x0_hat", jacobian="backprop")
    shown = Guidance(guider, target, Strength(1.0, "raw"))
    got = seen.score(noise(2), 0.5, estimate, lambda x: x)
    expected = shown.score(estimate, 0.5)
    torch.testing.assert_close(got.gradient, expected.gradient)
    torch.testing.assert_close(got.log_likelihood, expected.log_likelihood)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": "x_0"}, "input is one of x_t, x0_hat, got 'x_0'"),
        ({"jacobian": "vjp"}, "jacobian is one of none, jvp, backprop, wiener, got 'vjp'"),
    ],
)
def test_an_unknown_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Guidance(linear_guider(), ClassTarget({2: 1.0}, 5), Strength(1.0, "raw"), **settings)


def test_video_log_likelihood_is_the_sum_over_frames():
    view = LinearRgb([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    guidance = Guidance(resnet_guider(), ClassTarget({2: 1.0}, 5), Strength(1.0, "raw"), view=view)
    video = noise(6).reshape(2, 3, 3, SIDE, SIDE).transpose(1, 2)
    step = guidance.score(video, 1.0)
    for index in range(3):
        frame = guidance.score(video[:, :, index], 1.0)
        torch.testing.assert_close(step.gradient[:, :, index], frame.gradient, rtol=1e-4, atol=1e-6)
    alone = [guidance.score(video[:, :, i], 1.0).log_likelihood for i in range(3)]
    torch.testing.assert_close(step.log_likelihood, sum(alone))
