"""Guidance against analytic gradients, the published algorithms and an exact posterior."""

import math
from dataclasses import dataclass, replace

import numpy
import pytest
import timm
import torch
from torch import nn

from ppap_core.experts import PEFT_PREFIX, Expert, NoiseExperts
from ppap_core.guidance import Guidance
from ppap_core.guidance_report import lost_steps
from ppap_core.guidance_run import GuidanceRun
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing
from ppap_core.noise import NoiseRange, per_sample
from ppap_core.shaping import Shaping
from ppap_core.spectrum import DataSpectrum
from ppap_core.strength import Strength, norms, raw_shift, relative_shift
from ppap_core.targets import ClassTarget

BETAS = numpy.linspace(1e-4, 0.02, 1000)
ALPHAS_BAR = numpy.cumprod(1 - BETAS)
SIDE = 16


def guider_of(backbone, num_classes=5):
    """A guider that sees the image as it is: nothing to resize, (x + 1) / 2 and back."""
    labels = tuple(map(str, range(num_classes)))
    info = GuiderInfo("timm/net", "net", "class", labels, "0")
    return Guider(backbone, Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3), info)


def linear_guider():
    torch.manual_seed(0)
    return guider_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 5)))


def resnet_guider():
    """With BatchNorm statistics that are not the identity."""
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", channels=(8, 8, 12, 16), stem_width=8, num_classes=5)
    net.train()(torch.randn(32, 3, SIDE, SIDE))
    return guider_of(net)


def vit_guider():
    torch.manual_seed(0)
    net = timm.create_model(
        "vit_tiny_patch16_224",
        **{"img_size": SIDE, "patch_size": 4, "depth": 2, "embed_dim": 48, "num_heads": 3},
        num_classes=5,
    )
    nn.init.normal_(net.head.weight)
    return guider_of(net)


GUIDERS = [linear_guider, resnet_guider, vit_guider]


def guidance_of(guider, scale=1.0, rule="raw", experts=None, target=None):
    target = target or ClassTarget({2: 1.0}, 5)
    return Guidance(guider, target, Strength(scale, rule), experts=experts)


def shift_of(guidance, x, sigma_ve):
    return GuidanceRun(guidance).shift(x, sigma_ve)


def sigma_ve_of(alpha_bar, batch=1):
    return torch.full((batch,), math.sqrt((1 - alpha_bar) / alpha_bar))


def noise(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, SIDE, SIDE, generator=generator)


def softmax_score(weight, bias, x, index):
    """grad_x log softmax(W x + b)_index = W_index - sum_k p_k W_k."""
    p = (x.flatten(1) @ weight.T + bias).softmax(dim=1)
    return (weight[index] - p @ weight).reshape(x.shape)


def test_score_of_a_linear_classifier_is_its_analytic_gradient():
    guider, x = linear_guider(), noise()
    linear = guider.backbone[1]
    step = guidance_of(guider).score(x, 1.0)
    expected = softmax_score(linear.weight, linear.bias, x, 2)
    torch.testing.assert_close(step.gradient, expected, rtol=1e-4, atol=1e-6)
    log_p = (x.flatten(1) @ linear.weight.T + linear.bias).log_softmax(dim=1)[:, 2]
    torch.testing.assert_close(step.log_likelihood, log_p)


def test_expert_is_chosen_by_the_noise_level_of_the_call():
    torch.manual_seed(1)
    guider, x = linear_guider(), noise()
    weights = [torch.randn(5, 3 * SIDE * SIDE) * 0.02 for _ in range(2)]
    ranges = [NoiseRange(0.01, 1.0), NoiseRange(1.0, 100.0)]
    experts = NoiseExperts(
        [
            Expert(r, {PEFT_PREFIX + "1.weight": w}, 1.0)
            for r, w in zip(ranges, weights, strict=True)
        ]
    )
    guidance, bias = guidance_of(guider, experts=experts), guider.backbone[1].bias
    for sigma_ve, own in ((0.5, 0), (1.0, 1), (0.999, 0), (500.0, 1), (1e-4, 0)):
        expected = softmax_score(weights[own], bias, x, 2)
        torch.testing.assert_close(guidance.score(x, sigma_ve).gradient, expected)


def test_two_guidances_with_one_guider_do_not_disturb_each_other():
    guider, x = linear_guider(), noise()
    experts = NoiseExperts(
        [Expert(NoiseRange(0.01, 100.0), {PEFT_PREFIX + "1.bias": torch.arange(5.0)}, 1.0)]
    )
    plain, aware = guidance_of(guider), guidance_of(guider, experts=experts)
    first = plain.score(x, 1.0).gradient, aware.score(x, 1.0).gradient
    again = plain.score(x, 1.0).gradient, aware.score(x, 1.0).gradient
    assert first[0].equal(again[0]) and first[1].equal(again[1])
    assert not torch.allclose(*first)


def test_score_agrees_with_finite_differences():
    guidance, x = guidance_of(vit_guider()), noise(2)
    score = guidance.score(x, 1.0).gradient
    norms = score.flatten(1).norm(dim=1)
    step = 1e-2 * score / norms.reshape(-1, 1, 1, 1)
    ahead, behind = (guidance.score(x + s, 1.0).log_likelihood for s in (step, -step))
    torch.testing.assert_close((ahead - behind) / 2e-2, norms, rtol=1e-3, atol=1e-3)


def ddim_algorithm_2(x, eps, score, scale, t, t_before):
    """Dhariwal & Nichol, 2021, algorithm 2, line by line."""
    abar, abar_before = ALPHAS_BAR[t], ALPHAS_BAR[t_before]
    eps_hat = eps - math.sqrt(1 - abar) * scale * score
    x_0 = (x - math.sqrt(1 - abar) * eps_hat) / math.sqrt(abar)
    return math.sqrt(abar_before) * x_0 + math.sqrt(1 - abar_before) * eps_hat


def ddpm_mean(x, x_0, t):
    """The mean of q(x_{t-1} | x_t, x_0): Ho et al., 2020, equation 7."""
    abar, abar_before = ALPHAS_BAR[t], ALPHAS_BAR[t - 1]
    of_x_0 = math.sqrt(abar_before) * BETAS[t] / (1 - abar)
    of_x_t = math.sqrt(1 - BETAS[t]) * (1 - abar_before) / (1 - abar)
    return of_x_0 * x_0 + of_x_t * x


def guided_denoised(guidance, x, eps, t):
    """What a sampler gets: the model's estimate of x_0 and our shift of it, in float64."""
    abar = ALPHAS_BAR[t]
    denoised = (x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)
    return denoised, shift_of(guidance, x, sigma_ve_of(abar, len(x))).double()


@pytest.mark.parametrize(("t", "t_before"), [(999, 960), (600, 560), (200, 160), (40, 1), (1, 0)])
def test_raw_guidance_is_ddims_classifier_guidance(t, t_before):
    guider, scale = linear_guider(), 7.5
    x, eps = noise(seed=0), noise(seed=1).double()
    linear = guider.backbone[1]
    score = softmax_score(linear.weight, linear.bias, x, 2).double()
    expected = ddim_algorithm_2(x.double(), eps, score, scale, t, t_before)
    denoised, shift = guided_denoised(guidance_of(guider, scale), x, eps, t)
    abar, abar_before = ALPHAS_BAR[t], ALPHAS_BAR[t_before]
    x_0 = denoised + shift
    direction = (x - math.sqrt(abar) * x_0) / math.sqrt(1 - abar)
    got = math.sqrt(abar_before) * x_0 + math.sqrt(1 - abar_before) * direction
    assert (expected - ddim_algorithm_2(x.double(), eps, score, 0.0, t, t_before)).abs().max() > 0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [1, 50, 300, 700, 999])
def test_raw_guidance_is_ddpms_mean_shift_to_first_order_in_beta(t):
    """Algorithm 1 adds Sigma s grad to the mean, with Sigma = beta_t."""
    guider, scale = linear_guider(), 7.5
    x, eps = noise(seed=0), noise(seed=1).double()
    linear = guider.backbone[1]
    expected = BETAS[t] * scale * softmax_score(linear.weight, linear.bias, x, 2).double()
    denoised, shift = guided_denoised(guidance_of(guider, scale), x, eps, t)
    got = ddpm_mean(x.double(), denoised + shift, t) - ddpm_mean(x.double(), denoised, t)
    assert (got - expected).norm() < BETAS[t] * expected.norm()


@dataclass(frozen=True)
class Observation:
    """y = x_0 + noise of deviation `tau`, seen through x_t: p(y | x_t) in closed form."""

    y: float
    tau: float
    prior: tuple[float, float]
    sigma: float
    task = "class"

    def log_likelihood(self, x_vp):
        mean, variance = posterior_of_x_0(x_vp * math.hypot(1, self.sigma), self.sigma, self.prior)
        return -(self.y - mean).square().sum(dim=1) / (2 * (variance + self.tau**2))


def posterior_of_x_0(x, sigma, prior):
    """Mean and variance of x_0 ~ N(m, s^2) once x = x_0 + sigma n is known."""
    m, s = prior
    return (s**2 * x + sigma**2 * m) / (s**2 + sigma**2), s**2 * sigma**2 / (s**2 + sigma**2)


def ddim_steps(x, sigmas, observation, scale):
    """x / sqrt(1 + sigma^2) is x_vp; Euler in sigma is DDIM."""
    guider = guider_of(nn.Flatten())
    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        target = Observation(*observation, sigma)
        guidance = guidance_of(guider, scale, target=target)
        denoised = posterior_of_x_0(x, sigma, observation[2])[0]
        x_vp = x / math.hypot(1, sigma)
        denoised = denoised + shift_of(guidance, x_vp, torch.full((len(x),), sigma))
        x = denoised + (x - denoised) * sigma_next / sigma
    return x


def test_guided_samples_have_the_posteriors_mean_and_deviation():
    prior, y, tau = (-0.2, 0.5), 0.6, 0.3
    sigmas = [*torch.logspace(math.log10(157), -2, 400).tolist(), 0.0]
    x = ddim_steps(sigmas[0] * noise(16), sigmas, (y, tau, prior), 1.0)
    precision = 1 / prior[1] ** 2 + 1 / tau**2
    mean = (prior[0] / prior[1] ** 2 + y / tau**2) / precision
    assert x.mean().item() == pytest.approx(mean, abs=0.01)
    assert x.std().item() == pytest.approx(precision**-0.5, rel=0.03)


def test_without_guidance_the_same_loop_samples_the_prior():
    sigmas = [*torch.logspace(math.log10(157), -2, 100).tolist(), 0.0]
    x = ddim_steps(sigmas[0] * noise(16), sigmas, (0.6, 0.3, (-0.2, 0.5)), 0.0)
    assert x.mean().item() == pytest.approx(-0.2, abs=0.02)
    assert x.std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("alpha_bar", [0.999, 0.5, 1e-4])
@pytest.mark.parametrize("build", GUIDERS)
def test_relative_rule_moves_eps_by_its_share_of_eps_norm(build, alpha_bar):
    """In eps, the shift's norm is scale sqrt(1 - abar) sqrt(number of values), per picture.

    Unless that moves the estimate further than data reaches, at alpha_bar 1e-4: then its mean
    square is 1.
    """
    guider, x = build(), noise() * torch.tensor([0.1, 1, 3]).reshape(3, 1, 1, 1)
    sigma_ve = sigma_ve_of(alpha_bar, 3)
    shift = shift_of(guidance_of(guider, 0.2, "relative"), x, sigma_ve)
    in_eps = (shift / sigma_ve[0]).flatten(1).norm(dim=1)
    share = min(0.2 * math.sqrt(1 - alpha_bar), 1 / float(sigma_ve[0]))
    expected = share * math.sqrt(3 * SIDE * SIDE)
    torch.testing.assert_close(in_eps, torch.full((3,), expected), rtol=1e-4, atol=0)
    score = guidance_of(guider).score(x, float(sigma_ve[0])).gradient
    cosine = nn.functional.cosine_similarity(shift.flatten(1), score.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(3))


@pytest.mark.parametrize("rule", ["raw", "relative"])
@pytest.mark.parametrize("build", GUIDERS)
def test_a_picture_does_not_depend_on_its_batch_neighbours(build, rule):
    guidance, x = guidance_of(build(), 2.0, rule), noise(3)
    x[1] *= 50
    together = shift_of(guidance, x, sigma_ve_of(0.5, 3))
    alone = torch.cat([shift_of(guidance, x[i : i + 1], sigma_ve_of(0.5)) for i in range(3)])
    norms = alone.flatten(1).norm(dim=1)
    assert ((together - alone).flatten(1).norm(dim=1) <= 1e-5 * norms).all()


@pytest.mark.parametrize("build", GUIDERS)
def test_guidance_works_inside_inference_mode_and_after_a_device_move(build):
    guider = build()
    name = next(n for n, _ in guider.backbone.named_parameters() if n.endswith(".bias"))
    value = guider.backbone.state_dict()[name] + 0.5
    experts = NoiseExperts([Expert(NoiseRange(0.01, 100.0), {PEFT_PREFIX + name: value}, 1.0)])
    guidance = guidance_of(guider, experts=experts)
    expected = shift_of(guidance, noise(), sigma_ve_of(0.5, 3))
    guider.to(torch.float64).to(torch.float32)
    with torch.inference_mode():
        x = noise() + 0
        assert x.is_inference()
        got = shift_of(guidance, x, sigma_ve_of(0.5, 3))
    torch.testing.assert_close(got, expected)
    guider.switch.restore()
    guider.to(torch.float64).to(torch.float32)
    with torch.inference_mode():
        got = shift_of(guidance, x, sigma_ve_of(0.5, 3))
    torch.testing.assert_close(got, expected)


def test_score_leaves_the_callers_tensors_and_modes_unchanged():
    guider, x = resnet_guider(), noise()
    before = {name: value.clone() for name, value in guider.state_dict().items()}
    with torch.no_grad():
        run = GuidanceRun(guidance_of(guider))
        shift = run.shift(x, sigma_ve_of(0.5, 3))
        assert not torch.is_grad_enabled()
    assert x.equal(noise()) and not x.requires_grad
    assert not shift.requires_grad and not run.records[0].log_likelihood.requires_grad
    assert all(guider.state_dict()[name].equal(value) for name, value in before.items())


@pytest.mark.parametrize("when_met", ["push on", "fade"])
@pytest.mark.parametrize("rule", ["raw", "relative"])
def test_only_the_picture_with_a_non_finite_gradient_is_unguided(rule, when_met):
    shaping = Shaping(when_met=when_met)
    run = GuidanceRun(replace(guidance_of(resnet_guider(), 2.0, rule), shaping=shaping))
    x = noise(3)
    expected = run.shift(x, sigma_ve_of(0.5, 3))
    assert lost_steps(run.outcome()) == ""
    x[1, 0, 3, 3] = float("nan")
    for _ in range(2):
        got = run.shift(x, sigma_ve_of(0.5, 3))
    assert got[1].eq(0).all()
    torch.testing.assert_close(got[[0, 2]], expected[[0, 2]])
    assert "not finite at 2 of 3 guided steps" in lost_steps(run.outcome())


@pytest.mark.parametrize("rule", [raw_shift, relative_shift])
def test_zero_gradient_gives_zero_shift(rule):
    shift = rule(torch.zeros(2, 3, 4, 4), torch.full((2,), 157.0), 10.0)
    assert shift.eq(0).all()


def test_a_batch_of_unequal_noise_levels_is_refused():
    with pytest.raises(ValueError, match="share one noise level"):
        shift_of(guidance_of(linear_guider()), noise(2), torch.tensor([1.0, 1.5]))


def test_a_state_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 4, 8, 8\): guide a pixel-space model"):
        guidance_of(linear_guider()).score(torch.zeros(1, 4, 8, 8), 1.0)


def test_a_target_for_another_task_is_refused():
    class Depth:
        task = "depth"

    with pytest.raises(ValueError, match="predicts class, the target is for depth"):
        guidance_of(linear_guider(), target=Depth())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "relativ"}, "scale rule is one of recommended, raw, relative, got 'relativ'"),
        ({"guidance_scale": float("nan")}, "finite"),
        ({"guidance_scale": float("inf")}, "finite"),
        ({"start_percent": -0.1}, "-0.1"),
        ({"end_percent": 1.1}, "1.1"),
        ({"end_percent": float("nan")}, "nan"),
    ],
)
def test_an_impossible_strength_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Strength(**{"guidance_scale": 1.0} | settings)


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        ({}, False),
        ({"guidance_scale": 0.0}, True),
        ({"guidance_scale": -1.0}, False),
        ({"start_percent": 0.5, "end_percent": 0.5}, True),
        ({"start_percent": 0.6, "end_percent": 0.5}, True),
        ({"start_percent": 0.4, "end_percent": 0.5}, False),
    ],
)
def test_strength_is_off_at_scale_zero_or_empty_interval(settings, off):
    assert Strength(**{"guidance_scale": 1.0} | settings).is_off is off


def test_whitening_changes_the_direction_of_a_shift_and_not_its_length():
    guider, x, sigma_ve = resnet_guider(), noise(), sigma_ve_of(0.5, 3)
    plain = guidance_of(guider, 0.2, "relative")
    white = replace(plain, shaping=Shaping(spectrum="white"))
    shifts = [shift_of(guidance, x, sigma_ve) for guidance in (plain, white)]
    lengths = [shift.flatten(1).norm(dim=1) for shift in shifts]
    torch.testing.assert_close(*lengths)
    magnitudes = torch.fft.fft2(shifts[1]).abs()
    spread = magnitudes.flatten(1).std(dim=1) / magnitudes.flatten(1).mean(dim=1)
    assert (spread < 0.1).all()
    known = "auto, plain, half-white, white, half-wiener, wiener"
    with pytest.raises(ValueError, match=f"spectrum is one of {known}, got 'whitish'"):
        Shaping(spectrum="whitish")


@pytest.mark.parametrize("rule", ["relative", "raw"])
def test_half_wiener_changes_a_shifts_length_as_it_does_the_gradients(rule):
    """With both rules; a region changes nothing of that."""
    guider, x, sigma_ve = resnet_guider(), noise(), sigma_ve_of(0.5, 3)
    plain, density = guidance_of(guider, 0.2, rule), DataSpectrum((3.0, 0.01))
    filtered = replace(plain, shaping=Shaping(spectrum="half-wiener"), data_spectrum=density)
    shifts = [shift_of(guidance, x, sigma_ve) for guidance in (plain, filtered)]
    torch.testing.assert_close(shifts[1], density.wiener(shifts[0], sigma_ve, 0.5))
    left = torch.zeros(4, 4)
    left[:, :2] = 1.0
    within = replace(filtered, shaping=Shaping(spectrum="half-wiener", region=left))
    part = shift_of(within, x, sigma_ve)
    half = x.shape[-1] // 2
    assert part[..., half:].eq(0).all()
    if rule == "raw":
        torch.testing.assert_close(part[..., :half], shifts[1][..., :half])
    else:
        expected = shifts[1].flatten(1).norm(dim=1) / 2**0.5
        torch.testing.assert_close(part.flatten(1).norm(dim=1), expected)


@pytest.mark.parametrize("rule", ["relative", "raw"])
def test_the_jacobian_wiener_is_the_spectrum_wiener_as_long_as_the_gradient(rule):
    guider, x, sigma_ve = resnet_guider(), noise(), sigma_ve_of(0.5, 3)
    asked = replace(guidance_of(guider, 0.2, rule), input="x0_hat")
    ways = ("wiener", "plain"), ("none", "wiener"), ("none", "plain")
    by_jacobian, by_spectrum, plain = (
        GuidanceRun(replace(asked, jacobian=jacobian, shaping=Shaping(spectrum=spectrum))).shift(
            x, sigma_ve, 0.9 * x, None
        )
        for jacobian, spectrum in ways
    )
    wanted = norms(plain if rule == "relative" else by_spectrum)
    torch.testing.assert_close(norms(by_jacobian), wanted)
    scale = per_sample(wanted / norms(by_spectrum), x)
    torch.testing.assert_close(by_jacobian, scale * by_spectrum)


@pytest.mark.parametrize("rule", ["relative", "raw"])
@pytest.mark.parametrize(("when_met", "power"), [("fade late", 0.25), ("fade", 1.0)])
def test_a_shift_fades_with_what_is_missing_of_each_picture(when_met, power, rule):
    guider, x, sigma_ve = resnet_guider(), noise(), sigma_ve_of(0.5, 3)
    target = ClassTarget([{2: 1.0}, {0: 1.0, 3: 2.0}, {1: 1.0}], 5)
    plain = guidance_of(guider, 0.2, rule, target=target)
    pushed, faded = (
        shift_of(replace(plain, shaping=Shaping(spectrum="plain", when_met=how)), x, sigma_ve)
        for how in ("push on", when_met)
    )
    p = guider(x).softmax(dim=1)
    missing = 1 - torch.stack([p[0, 2], p[1, 0] + p[1, 3], p[2, 1]])
    torch.testing.assert_close(faded, per_sample(missing**power, x) * pushed)


@pytest.mark.parametrize("classes", [{2: 1.0}, {2: 0.3, 1: 0.7}, {3: -1.0}], ids=str)
@pytest.mark.parametrize("answer", ["softmax", "sigmoid"])
def test_what_is_missing_is_exact_where_the_guider_is_nearly_sure(classes, answer):
    """Its fourth root would show the rounding of 1 - p: 0.016 in place of 0.0001."""
    is_wanted = min(classes.values()) > 0
    signs = torch.tensor([1.0 if (k in classes) == is_wanted else -1.0 for k in range(5)])
    logits = 8 * signs + torch.tensor([[0.0, 1.0, 0.5, -1.0, 0.3], [3.0, 2.0, 6.0, 1.0, 0.0]])
    z, named = logits.double(), list(classes)
    if answer == "softmax":
        exact = 1 - z.softmax(dim=1)[:, signs > 0].sum(dim=1)
    else:
        exact = (1 - torch.sigmoid(signs[named] * z[:, named])).mean(dim=1)
    assert exact.max() < 1e-3
    found = ClassTarget(classes, 5, answer=answer).missing(logits).double()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)


def test_what_is_met_moves_no_further_and_a_video_fades_as_a_whole():
    guider, sigma_ve = resnet_guider(), sigma_ve_of(0.5)
    view = lambda state: state.transpose(1, 2).flatten(0, 1)  # noqa: E731
    fade = Shaping(spectrum="plain", when_met="fade")
    asked = replace(guidance_of(guider, 0.2, "relative"), view=view, shaping=fade)
    video = noise(4).transpose(0, 1)[None]
    with torch.no_grad():
        missing = 1 - guider(noise(4)).softmax(dim=1)[:, 2].mean()
        shift = shift_of(asked, video, sigma_ve)
        full = shift_of(replace(asked, shaping=Shaping(spectrum="plain")), video, sigma_ve)
        torch.testing.assert_close(shift, missing * full)
        head = [m for m in guider.modules() if isinstance(m, nn.Linear)][-1]
        head.bias[2] = 1e4
        assert shift_of(asked, video, sigma_ve).eq(0).all()


@pytest.mark.parametrize("frames", [(1,), (0, -1), (2, 2)])
def test_a_frame_is_moved_as_far_whether_others_are_guided_or_not(frames):
    """Relative: by the share of its own noise; the limit counts so too."""
    guider, sigma_ve = resnet_guider(), sigma_ve_of(0.5)
    still = noise(1)[:, :, None]
    x = still.expand(-1, -1, 4, -1, -1).contiguous()
    view = lambda state: state.transpose(1, 2).flatten(0, 1)  # noqa: E731
    plain = replace(guidance_of(guider, 0.2, "relative"), view=view)
    for options in ({}, {"max_norm": 0.05}):
        asked = (plain, Shaping(**options)), (plain, Shaping(frames=frames, **options))
        everywhere, chosen = (
            shift_of(replace(guidance, shaping=shaping), x, sigma_ve) for guidance, shaping in asked
        )
        moved = sorted({frame % 4 for frame in frames})
        torch.testing.assert_close(chosen[:, :, moved], everywhere[:, :, moved])
        still_ones = [frame for frame in range(4) if frame not in moved]
        assert chosen[:, :, still_ones].eq(0).all()
