"""Step caches and all else that remembers between evaluations, beside guidance.

An evaluation of ours is answered by none of them and leaves no trace in any.
"""

import functools

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy.stand_in import StandIn

JACOBIANS = ("none", "jvp", "backprop")
OURS = ("jvp", "backprop")
STEPS = 8


@pytest.fixture(scope="module")
def load(comfyui):
    return functools.cache(lambda name: tiny_checkpoints.load(comfyui, name))


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_checkpoints.tiny_guider(comfyui)


def node(comfyui, name, model, **inputs):
    with torch.inference_mode():
        return comfyui.node(name).execute(model, **inputs).args[0]


def easy_cache(comfyui, model, threshold=0.2):
    settings = {"start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    return node(comfyui, "EasyCache", model, reuse_threshold=threshold, **settings)


def lazy_cache(comfyui, model, threshold=0.2):
    settings = {"start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    return node(comfyui, "LazyCache", model, reuse_threshold=threshold, **settings)


CACHES = {"EasyCache": easy_cache, "LazyCache": lazy_cache}


def guide(comfyui, model, guider, jacobian, **settings):
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    settings = {"guider_input": "x0_hat", "guidance_scale": 3.0, "jacobian": jacobian} | settings
    return node(comfyui, "PPAP_ApplyGuidance", model, guider=guider, target=target, **settings)


def sample(model, name="Flux", steps=STEPS, cfg=1.0, sampler="euler", seed=0):
    import comfy.sample

    with torch.inference_mode():
        latent = tiny_checkpoints.empty_latent(model)
        noise = comfy.sample.prepare_noise(latent, seed)
        cond = tiny_checkpoints.conditioning(name)
        settings = {"disable_pbar": True, "seed": seed}
        place = model, noise, steps, cfg, sampler, "simple", cond, cond, latent
        return comfy.sample.sample(*place, **settings)


class Watched(StandIn):
    """Guides by a fixed direction, and notes the Jacobian's product with it at every step."""

    def __init__(self, comfyui, guider, jacobian):
        super().__init__(comfyui, guider.guider)
        module = comfyui.module("ppap_core.jacobian")
        self.jacobian, self.product = jacobian, module.JACOBIANS[jacobian]
        self.stale = module.StaleEstimate
        self.products = []

    def gradient(self, x_vp, sigma_ve, denoised, denoise):
        g = torch.randn(x_vp.shape, generator=torch.Generator().manual_seed(1)).to(x_vp)
        try:
            self.products.append((g, self.product(g, x_vp, sigma_ve, denoised, denoise)))
        except self.stale:
            self.products.append((g, None))
        return torch.zeros_like(x_vp)


def watched(comfyui, model, guider, jacobian):
    probe = Watched(comfyui, guider, jacobian)
    install = comfyui.module("ppap_core.comfy_bridge.hook").install_guidance
    return install(model, probe, guider.patcher), probe


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@pytest.mark.parametrize("cache_first", [True, False])
@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("name", CACHES)
def test_a_cache_never_answers_for_the_jacobian(comfyui, load, guider, name, jacobian, cache_first):
    """Guidance by nothing, so that the states with and without the cache can be compared."""
    plain, expected = watched(comfyui, load("Flux"), guider, jacobian)
    sample(plain)
    model = CACHES[name](comfyui, load("Flux")) if cache_first else load("Flux")
    model, probe = watched(comfyui, model, guider, jacobian)
    sample(model if cache_first else CACHES[name](comfyui, model))
    found = [product for _, product in probe.products if product is not None]
    assert 1 < len(found) <= STEPS
    lengths = [product.norm() for _, product in expected.products]
    for product in found:  # a cached answer's difference is 12 to 315 times as long
        assert min(lengths) / 2 < product.norm() < 2 * max(lengths)
    direction = probe.products[0][0]
    assert all(cosine(direction, product) < 0.999 for product in found)


@pytest.mark.parametrize("cache_first", [True, False])
@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("name", CACHES)
def test_a_cache_skips_the_steps_that_it_skips_without_our_evaluations(
    comfyui, load, guider, name, jacobian, cache_first, caplog
):
    caplog.set_level("INFO")

    def skipped(build):
        caplog.clear()
        sample(build(load("Flux")))
        lines = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
        return next(line for line in lines if line.startswith(name))

    alone = skipped(lambda model: CACHES[name](comfyui, model))
    probed = lambda model: watched(comfyui, model, guider, jacobian)[0]  # noqa: E731
    if cache_first:
        beside = skipped(lambda model: probed(CACHES[name](comfyui, model)))
    else:
        beside = skipped(lambda model: CACHES[name](comfyui, probed(model)))
    assert beside == alone
    assert "skipped 0" not in alone
