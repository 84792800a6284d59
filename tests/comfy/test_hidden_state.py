"""Step caches and all else that remembers between evaluations, beside guidance.

An evaluation of ours is answered by none of them and leaves no trace in any.
"""

import functools

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models
from tests.comfy.stand_in import StandIn

JACOBIANS = ("none", "jvp", "backprop")
OURS = ("jvp", "backprop")
STEPS = 8


@pytest.fixture(scope="module")
def load(comfyui):
    return functools.cache(lambda name: tiny_models.load(comfyui, name))


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


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
    settings = {"guider_input": "x0_hat", "strength": 3.0, "jacobian": jacobian} | settings
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


def lazy_function_wrapper(model):
    """A cache in a closure, around the network: every other step gets the answer of the one before
    (Comfy-WaveSpeed and TeaCache are built so).
    """
    model, last, seen = model.clone(), None, []

    def wrapper(apply_model, args):
        nonlocal last
        step = float(args["timestep"][0])
        if step not in seen:
            seen.append(step)
        if last is None or len(seen) % 2:
            last = apply_model(args["input"], args["timestep"], **args["c"])
        return last

    model.set_model_unet_function_wrapper(wrapper)
    return model


def attributes_of_the_network(model):
    """A cache that keeps its state on the network, whose `forward` it replaces."""
    model = model.clone()
    network = model.model.diffusion_model
    own = type(network).forward

    def forward(*args, **kwargs):
        network.count = getattr(network, "count", 0) + 1
        if network.count % 2:
            network.last = own(network, *args, **kwargs)
        return network.last

    model.add_object_patch("diffusion_model.forward", forward)
    return model


class Owner:
    """A cache as a method: WrappersMP of its kind, state on the object."""

    def __init__(self):
        self.last, self.calls = None, []

    def every_other(self, executor, *args, **kwargs):
        self.calls.append(args)
        if len(self.calls) % 2:
            self.last = executor(*args, **kwargs)
        return self.last


def owned_wrapper(kind):
    def install(model):
        model = model.clone()
        model.add_wrapper_with_key(kind, "a pack", Owner().every_other)
        return model

    return install


def default_argument(model):
    """A cache in the default of an argument."""
    model = model.clone()

    def wrapper(executor, *args, kept={}, **kwargs):  # noqa: B006
        kept["calls"] = kept.get("calls", 0) + 1
        if kept["calls"] % 2:
            kept["last"] = executor(*args, **kwargs)
        return kept["last"]

    model.add_wrapper_with_key("apply_model", "a pack", wrapper)
    return model


KINDS = ("predict_noise", "calc_cond_batch", "apply_model", "diffusion_model")
OTHERS = {
    "model_function_wrapper": lazy_function_wrapper,
    "attributes": attributes_of_the_network,
    "default": default_argument,
    **{kind: owned_wrapper(kind) for kind in KINDS},
}


@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("name", OTHERS)
def test_caches_of_other_packs_never_answer_and_see_nothing(comfyui, load, guider, name, jacobian):
    """Guided by nothing the picture is the cached one, bit for bit; J g is of true estimates."""
    cached = sample(OTHERS[name](load("Flux")))
    plain, expected = watched(comfyui, load("Flux"), guider, jacobian)
    assert not torch.equal(cached, sample(plain))
    model, probe = watched(comfyui, OTHERS[name](load("Flux")), guider, jacobian)
    torch.testing.assert_close(sample(model), cached, rtol=0, atol=0)
    found = [product for _, product in probe.products if product is not None]
    assert len(found) >= STEPS // 2
    lengths = [product.norm() for _, product in expected.products]
    for product in found:
        assert min(lengths) / 2 < product.norm() < 2 * max(lengths)


GLOBAL = {}


def out_of_reach(executor, *args, **kwargs):
    """A cache in a global variable: nothing on the MODEL leads to it."""
    GLOBAL["calls"] = GLOBAL.get("calls", 0) + 1
    if GLOBAL["calls"] % 2:
        GLOBAL["last"] = executor(*args, **kwargs)
    return GLOBAL["last"]


@pytest.mark.parametrize("jacobian", OURS)
def test_a_cache_that_answers_all_the_same_is_told_once_and_none_is_taken(
    comfyui, load, guider, jacobian, caplog
):
    GLOBAL.clear()
    model = load("Flux").clone()
    model.add_wrapper_with_key("apply_model", "a pack", out_of_reach)
    picture = sample(guide(comfyui, model, guider, jacobian))
    assert picture.isfinite().all()
    told = [r.getMessage() for r in caplog.records if "a step cache answered" in r.getMessage()]
    assert len(told) == 1


@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_wrapper_records_the_samplers_evaluations_alone(
    comfyui, load, guider, kind, jacobian
):
    seen = []

    def record(executor, *args, **kwargs):
        seen.append(kind)
        return executor(*args, **kwargs)

    model = load("Flux").clone()
    model.add_wrapper_with_key(kind, "a recorder", record)
    sample(model)
    expected, evaluations = len(seen), []
    guided = guide(comfyui, model, guider, jacobian)
    sample(guided, steps=1)  # the first backprop of a size measures its memory
    network = model.model.diffusion_model
    handle = network.register_forward_pre_hook(lambda *_: evaluations.append(1))
    seen.clear()
    sample(guided)
    handle.remove()
    assert len(seen) == expected == STEPS
    assert len(evaluations) == 2 * STEPS


@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("sampler", ["euler_ancestral", "ddpm", "dpmpp_2s_ancestral"])
def test_random_numbers_of_the_model_are_those_without_us(comfyui, load, guider, sampler, jacobian):
    """A patch that draws from torch's own generator, which some samplers draw from as well."""
    model = load("SD15").clone()

    def shake(apply_model, args):
        answer = apply_model(args["input"], args["timestep"], **args["c"])
        return answer + 0.1 * torch.randn_like(answer)

    model.set_model_unet_function_wrapper(shake)
    torch.manual_seed(5)
    plain = sample(model, "SD15", steps=3, sampler=sampler)
    torch.manual_seed(5)
    guided, probe = watched(comfyui, model, guider, jacobian)
    torch.testing.assert_close(
        sample(guided, "SD15", steps=3, sampler=sampler), plain, rtol=0, atol=0
    )
    still, expected = watched(comfyui, load("SD15"), guider, jacobian)
    sample(still, "SD15", steps=3, sampler=sampler)
    for (_, product), (_, without) in zip(probe.products, expected.products, strict=True):
        # of other random numbers the difference would be that of two noises
        assert 0.5 * without.norm() < product.norm() < 2 * without.norm()


def by_dual_cfg(comfyui, model, sampler):
    cond = tiny_checkpoints.conditioning("SD15")
    other = [[torch.ones(1, 8, 768), {}]]

    def call(name, **inputs):
        return comfyui.node(name).execute(**inputs).args[0]

    with torch.inference_mode():
        guiding = call(
            "DualCFGGuider",
            **{"model": model, "cond1": cond, "cond2": other, "negative": cond},
            **{"cfg_conds": 3.0, "cfg_cond2_negative": 2.0, "style": "regular"},
        )
        sigmas = call("BasicScheduler", model=model, scheduler="simple", steps=3, denoise=1.0)
        latent = {"samples": tiny_checkpoints.empty_latent(model)}
        return call(
            "SamplerCustomAdvanced",
            **{"noise": call("RandomNoise", noise_seed=0), "guider": guiding, "sigmas": sigmas},
            **{"sampler": call("KSamplerSelect", sampler_name=sampler), "latent_image": latent},
        )["samples"]


@pytest.mark.parametrize("jacobian", OURS)
@pytest.mark.parametrize("sampler", ["euler_cfg_pp", "dpmpp_2m_cfg_pp"])
def test_a_sampler_that_reads_estimates_itself_reads_its_own(
    comfyui, load, guider, sampler, jacobian
):
    """Samplers of the CFG++ kind note the unconditional estimate of each evaluation they see."""
    plain = by_dual_cfg(comfyui, load("SD15"), sampler)
    model, probe = watched(comfyui, load("SD15"), guider, jacobian)
    torch.testing.assert_close(by_dual_cfg(comfyui, model, sampler), plain, rtol=0, atol=0)
    assert len(probe.products) == 3


@pytest.mark.parametrize("reads_estimates", [True, False])
def test_a_sampler_of_the_cfg_pp_kind_is_told_by_what_it_does(
    comfyui, load, guider, monkeypatch, reads_estimates
):
    """DualCFGGuider hides estimates, so that guidance would be too strong: told for any name."""
    import comfy.samplers
    from comfy.model_patcher import set_model_options_post_cfg_function

    def sample_once(model, x, sigmas, extra_args, callback, disable):
        if reads_estimates:
            options = extra_args.get("model_options", {}).copy()
            note = lambda args: args["denoised"]  # noqa: E731
            extra_args["model_options"] = set_model_options_post_cfg_function(options, note)
        return model(x, sigmas[:1], **extra_args)

    select = comfyui.node("KSamplerSelect")
    sampler = comfy.samplers.KSAMPLER(sample_once)
    monkeypatch.setattr(select, "execute", lambda sampler_name: type("", (), {"args": [sampler]}))
    warned = []
    module = comfyui.module("ppap_core.comfy_bridge.guided_evaluation")
    monkeypatch.setattr(module, "_warn_of_cfg_pp", lambda: warned.append(1))
    by_dual_cfg(comfyui, guide(comfyui, load("SD15"), guider, "none"), "unheard of")
    assert bool(warned) == reads_estimates


def skip_layers(comfyui, model):
    settings = {"double_layers": "0", "single_layers": "0"}
    return node(
        comfyui,
        "SkipLayerGuidanceDiTSimple",
        model,
        **settings,
        start_percent=0.0,
        end_percent=1.0,
    )


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("jacobian", JACOBIANS)
def test_a_function_for_all_conditionings_gets_all(comfyui, load, guider, jacobian, first):
    """SkipLayerGuidanceDiTSimple takes a list of two and gives two back."""
    model = load("Flux")
    if first:
        guided = skip_layers(comfyui, guide(comfyui, model, guider, jacobian))
    else:
        guided = guide(comfyui, skip_layers(comfyui, model), guider, jacobian)
    plain = sample(skip_layers(comfyui, model), steps=3, cfg=3.0)
    picture = sample(guided, steps=3, cfg=3.0)
    assert picture.isfinite().all()
    assert (picture - plain).abs().max() > 1e-3 * plain.abs().max()
