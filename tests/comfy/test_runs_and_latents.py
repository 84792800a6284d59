"""A report tells of the run that made the latent it is given, whatever ran before or since."""

import gc
import re
import weakref

import pytest
import torch

from tests.comfy import tiny_models
from tests.comfy.test_nodes import report, target, world  # noqa: F401

SETTINGS = {"strength": 1.0}


@pytest.fixture
def guide(comfyui, call, world):  # noqa: F811
    def apply(model=None, **changes):
        guider = world[2]
        inputs = {"model": model or world[0], "guider": guider, "target": target(comfyui, guider)}
        return call("PPAP_ApplyGuidance", **inputs, **SETTINGS | changes)[0]

    return apply


@pytest.fixture
def sample(call, world):  # noqa: F811
    def run(model, latent=None, node="KSampler", **changes):
        _, empty, _, zeros = world
        settings = {
            **{"seed": 0, "steps": 6, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"},
            **{"positive": empty, "negative": empty, "latent_image": latent or zeros},
        } | changes
        return call(node, model=model, **settings)[0]

    return run


@pytest.fixture
def evaluations(comfyui):
    """How many evaluations the report of a latent counts, guidance by guidance."""

    def count(model, latent):
        text = report(comfyui, model, latent)[2]
        return [int(number) for number in re.findall(r"guided (\d+) of \d+", text)]

    return count


def custom(call, world, model, sigmas, latent, noise):  # noqa: F811
    """Both outputs of SamplerCustomAdvanced."""
    return call(
        "SamplerCustomAdvanced",
        noise=call(noise, **({"noise_seed": 0} if noise == "RandomNoise" else {}))[0],
        guider=call("BasicGuider", model=model, conditioning=world[1])[0],
        sampler=call("KSamplerSelect", sampler_name="euler")[0],
        sigmas=sigmas,
        latent_image=latent,
    )


def split(call, model, step):
    sigmas = call("BasicScheduler", model=model, scheduler="simple", steps=6, denoise=1.0)[0]
    return call("SplitSigmas", sigmas=sigmas, step=step)


def test_two_samplers_on_one_model_have_reports_of_their_own(guide, sample, evaluations):
    model = guide()
    latents = {steps: sample(model, steps=steps) for steps in (3, 6, 5)}
    for steps, latent in latents.items():
        assert evaluations(model, latent) == [steps]


def test_two_samplers_with_one_seed_and_scale_differ_by_their_guidance(
    comfyui, guide, sample, evaluations
):
    early, late = guide(end_percent=0.5), guide(start_percent=0.5)
    first, second = sample(early), sample(late)
    assert evaluations(early, first)[0] + evaluations(late, second)[0] == 6


def test_guidance_without_effect_is_told_by_the_model_that_had_it(comfyui, guide, sample):
    """Both make the unguided picture."""
    models = guide(start_percent=0.998), guide(start_percent=0.999)
    latents = [sample(model) for model in models]
    assert torch.equal(*(latent["samples"] for latent in latents))
    for model, latent, start in zip(models, latents, ("0.998", "0.999"), strict=True):
        assert f"{start} to 1" in report(comfyui, model, latent)[2]


@pytest.mark.parametrize("step", [1, 4])
def test_the_halves_of_split_sigmas_add_up(call, world, guide, evaluations, step):  # noqa: F811
    model = guide()
    high, low = split(call, model, step)
    first = custom(call, world, model, high, world[3], "RandomNoise")[0]
    second = custom(call, world, model, low, first, "DisableNoise")[0]
    assert evaluations(model, first) == [step]
    assert evaluations(model, second) == [6]


def test_halves_under_two_guidances_are_told_one_by_one(call, world, guide, evaluations):  # noqa: F811
    models = guide(), guide(strength=0.2)
    high, low = split(call, models[0], 2)
    first = custom(call, world, models[0], high, world[3], "RandomNoise")[0]
    second = custom(call, world, models[1], low, first, "DisableNoise")[0]
    assert evaluations(models[1], second) == [2, 4]


def test_the_halves_of_ksampler_advanced_add_up(call, world, guide, evaluations):  # noqa: F811
    model, (_, empty, _, latent) = guide(), world

    def half(latent_image, **changes):
        settings = {
            **{"noise_seed": 0, "steps": 6, "cfg": 1.0, "sampler_name": "euler"},
            **{"scheduler": "simple", "positive": empty, "negative": empty},
        }
        inputs = settings | changes | {"latent_image": latent_image}
        return call("KSamplerAdvanced", model=model, **inputs)[0]

    rest = {"add_noise": "enable", "return_with_leftover_noise": "enable"}
    first = half(latent, start_at_step=0, end_at_step=2, **rest)
    rest = {"add_noise": "disable", "return_with_leftover_noise": "disable"}
    second = half(first, start_at_step=2, end_at_step=6, **rest)
    assert evaluations(model, first) == [2]
    assert evaluations(model, second) == [6]


def test_denoise_0_is_no_run(comfyui, guide, sample, evaluations):
    model = guide()
    sample(model)
    untouched = sample(model, denoise=0.0)
    assert "no guided sampling is known" in report(comfyui, model, untouched)[2]
    made = sample(model, steps=4)
    assert evaluations(model, sample(model, made, denoise=0.0)) == [4]


def test_each_pass_of_a_larger_picture_is_told_by_itself(call, guide, sample, evaluations):
    model = guide()
    first = sample(model)
    size = {"width": 512, "height": 512, "crop": "disabled"}
    larger = call("LatentUpscale", samples=first, upscale_method="nearest-exact", **size)[0]
    second = sample(model, larger, steps=8, denoise=0.5)
    assert evaluations(model, first) == [6]
    assert evaluations(model, second) == [8]
    assert evaluations(model, larger) == []


def copies(call, latent):
    mask = torch.ones(1, 32, 32)
    return {
        "masked": call("SetLatentNoiseMask", samples=latent, mask=mask)[0],
        "one of the batch": call("LatentFromBatch", samples=latent, batch_index=1, length=1)[0],
        "repeated": call("RepeatLatentBatch", samples=latent, amount=2)[0],
        "moved": {"samples": latent["samples"].clone().to(torch.float64)},
        "a view": {"samples": latent["samples"][:, :, :, :]},
    }


def test_a_copy_of_a_latent_is_known(call, guide, sample, evaluations):
    model = guide()
    latent = sample(model, steps=4)
    sample(model)
    for name, copy in copies(call, latent).items():
        assert evaluations(model, copy) == [4], name


def test_a_batch_of_two_runs_tells_of_both(call, guide, sample, evaluations):
    model = guide()
    first, second = sample(model, steps=3), sample(model, steps=5)
    both = call("LatentBatch", samples1=second, samples2=first)[0]
    assert evaluations(model, both) == [5, 3]


def test_both_latents_of_a_sampler_are_known(call, world, guide, evaluations):  # noqa: F811
    model = guide()
    high, _ = split(call, model, 4)
    latents = custom(call, world, model, high, world[3], "RandomNoise")
    assert not torch.equal(*(latent["samples"] for latent in latents))
    assert [evaluations(model, latent) for latent in latents] == [[4], [4]]


def test_an_inpainted_latent_is_known(call, world, guide, sample, evaluations):  # noqa: F811
    model = guide()
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:24] = 1.0
    masked = call("SetLatentNoiseMask", samples=world[3], mask=mask)[0]
    assert evaluations(model, sample(model, masked)) == [6]


def test_a_latent_that_the_host_stores_in_half_precision_is_known(
    guide, sample, evaluations, monkeypatch
):
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "intermediate_dtype", lambda: torch.float16)
    model = guide()
    latent = sample(model)
    assert latent["samples"].dtype == torch.float16
    assert evaluations(model, latent) == [6]


def test_what_is_kept_of_runs_keeps_no_guider_alive(comfyui, sample, world):  # noqa: F811
    """An outcome outlives its graph; a guider must not."""
    import comfy.model_management

    module = comfyui.module("ppap_core.comfy_bridge.hook")
    tiny = tiny_models.tiny_guider(comfyui)
    of_class = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    with torch.inference_mode():
        (model,) = (
            comfyui.node("PPAP_ApplyGuidance")
            .execute(model=world[0], guider=tiny, target=of_class, strength=1.0)
            .args
        )
    latent, guider = sample(model), weakref.ref(tiny.guider)
    assert len(module.outcomes_for(model, latent)) == 1
    del model, tiny
    comfy.model_management.unload_all_models()
    gc.collect()
    assert guider() is None


def test_a_graph_that_has_not_changed_runs_nothing(comfyui):
    """The host runs a node again whose fingerprint is not that of the time before."""
    from comfy_api.internal import first_real_override

    node = comfyui.node("PPAP_GuidanceReport")
    assert first_real_override(node, "fingerprint_inputs") is None
