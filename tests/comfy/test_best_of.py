"""PPAP Best of Several, under the host's own samplers."""

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models
from tests.comfy.test_nodes import report, target, world  # noqa: F401
from tests.comfy.test_runs_and_latents import custom, guide, sample, split  # noqa: F401
from tests.slow import slow

SEEDS = 3


@pytest.fixture
def best_of(comfyui, call, world):  # noqa: F811
    """MODEL whose pictures are the best of SEEDS, `classes` wanted."""

    def apply(model=None, classes="torus", **changes):
        wanted = changes.pop("target", None) or target(comfyui, world[2], classes)
        settings = {"particles": SEEDS, "every": 2, "strictness": 1.0} | changes
        inputs = {"model": model or world[0], "guider": world[2], "target": wanted}
        return call("PPAP_BestOfSeveral", **inputs, **settings)[0]

    return apply


def likelihoods(world, wanted, latent):  # noqa: F811
    """log p of the finished pictures, by the expert of the lowest noise: (B,)."""
    guider = world[2]
    guider.guider.switch.activate(guider.experts.select(0.0))
    with torch.no_grad():
        found = wanted.log_likelihood(guider.guider(latent["samples"].clone()))
    guider.guider.switch.restore()
    return found


def test_at_the_end_the_best_of_the_next_seeds_comes_out(comfyui, call, world, best_of, sample):  # noqa: F811
    """The pictures are those of the seeds 0, 1 and 2, and the guider's own words choose."""
    wanted = target(comfyui, world[2])
    seeds = [sample(world[0], seed=seed) for seed in range(SEEDS)]
    scores = torch.stack([likelihoods(world, wanted, latent) for latent in seeds])
    expected = torch.stack(
        [seeds[int(best)]["samples"][g] for g, best in enumerate(scores.argmax(dim=0))]
    )
    chosen = sample(best_of(strictness=0.0))["samples"]
    torch.testing.assert_close(chosen, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_selection_on_the_way_raises_the_likelihood(comfyui, world, best_of, sample):  # noqa: F811
    wanted = target(comfyui, world[2])
    latent = {"samples": torch.zeros(8, 3, 32, 32)}
    found = [
        likelihoods(world, wanted, sample(model, latent, steps=12)).mean()
        for model in (
            world[0],
            best_of(particles=6, strictness=0.0),
            best_of(particles=6, strictness=2.0),
        )
    ]
    assert found[0] + 1 < found[1] and found[1] + 1 < found[2]


def test_one_particle_is_the_model_itself(world, best_of):  # noqa: F811
    assert best_of(particles=1) is world[0]


@pytest.mark.parametrize("sampler", ["euler", "heun", "uni_pc"])
def test_where_all_go_on_every_particle_is_as_without(sample, world, best_of, sampler):  # noqa: F811
    """Weights that are equal take each particle once: the sampler is only run in pieces."""
    plain = [sample(world[0], seed=seed, sampler_name=sampler) for seed in range(SEEDS)]
    (one,) = sample(
        best_of(strictness=1e-9), {"samples": torch.zeros(1, 3, 32, 32)}, sampler_name=sampler
    )["samples"]
    distances = [(one - latent["samples"][0]).abs().mean().item() for latent in plain]
    exact = sampler != "uni_pc"  # it remembers steps of before
    assert min(distances) < (1e-4 if exact else 0.1)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
def test_samplers_with_noise_of_their_own_add_another_in_each_piece(sample, best_of, sampler):  # noqa: F811
    made = sample(best_of(every=1), sampler_name=sampler)["samples"]
    assert made.shape == (2, 3, 32, 32) and made.isfinite().all() and 0.05 < made.std() < 2


def test_nodes_that_put_out_an_estimate_put_out_that_of_the_best(call, world, best_of):  # noqa: F811
    model = best_of(strictness=0.0)
    sigmas, _ = split(call, model, 5)  # stops before the end: both outputs differ
    latent, estimate = custom(call, world, model, sigmas, world[3], "RandomNoise")
    plain = [custom(call, world, world[0], sigmas, world[3], "RandomNoise")]
    assert latent["samples"].shape == estimate["samples"].shape == (2, 3, 32, 32)
    differences = (latent["samples"] - plain[0][0]["samples"]).flatten(1).abs().amax(1)
    of_estimates = (estimate["samples"] - plain[0][1]["samples"]).flatten(1).abs().amax(1)
    assert torch.equal(differences < 1e-4, of_estimates < 1e-4)


def test_guidance_and_its_report_go_together_with_it(comfyui, guide, best_of, sample):  # noqa: F811
    for model in (best_of(guide()), guide(best_of())):
        latent = sample(model)
        assert latent["samples"].shape == (2, 3, 32, 32)
        assert "guided 6 of 6 steps" in report(comfyui, model, latent)[2]


def test_what_a_mask_keeps_is_kept(sample, world, best_of):  # noqa: F811
    given = torch.rand(2, 3, 32, 32) - 0.5
    mask = torch.zeros(1, 32, 32)
    mask[..., 16:] = 1
    made = sample(best_of(), {"samples": given, "noise_mask": mask})["samples"]
    torch.testing.assert_close(made[..., :15], given[..., :15], rtol=0, atol=1e-3)
    assert (made[..., 17:] - given[..., 17:]).abs().mean() > 0.1


def test_each_picture_may_have_a_target_of_its_own(call, world, best_of, sample):  # noqa: F811
    lines = {"guider": world[2], "classes": "torus\ncone", "temperature": 1.0}
    both = call("PPAP_TargetClass", line_per_picture=True, **lines)[0]
    together = sample(best_of(target=both, strictness=0.0))["samples"]
    for row, name in enumerate(("torus", "cone")):
        alone = sample(best_of(classes=name, strictness=0.0))["samples"]
        torch.testing.assert_close(together[row], alone[row], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["SD15", "Flux", slow("HunyuanVideo")])
def test_every_kind_of_model_is_sampled_in_pieces(comfyui, name):
    import comfy.sample

    model, guider = tiny_models.load(comfyui, name), tiny_models.tiny_guider(comfyui)
    wanted = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    with torch.inference_mode():
        settings = {"particles": 2, "every": 1, "strictness": 1e-9}
        node = comfyui.node("PPAP_BestOfSeveral")
        chosen = node.execute(model=model, guider=guider, target=wanted, **settings).args[0]
        latent = tiny_checkpoints.empty_latent(model, 3 if "Video" in name else 1)
        cond = tiny_checkpoints.conditioning(name)
        made = {}
        for key, sampled, seed in (("best", chosen, 5), (5, model, 5), (6, model, 6)):
            noise = comfy.sample.prepare_noise(latent, seed)
            made[key] = comfy.sample.sample(
                *(sampled, noise, 3, 1.0, "euler", "simple", cond, cond, latent),
                disable_pbar=True,
                seed=seed,
            )
    assert made["best"].shape == made[5].shape
    assert min((made["best"] - made[seed]).abs().max() for seed in (5, 6)) < 1e-3


def test_what_it_came_to_stands_on_the_node(comfyui, best_of, sample, monkeypatch):  # noqa: F811
    told = []
    module = comfyui.module("ppap_core.comfy_bridge.best_of")
    monkeypatch.setattr(module, "show_on_node", lambda lines, **_: told.extend(lines))
    sample(best_of())
    assert told[0].startswith("best of 3: ") and "sure of torus, from all to the best" in told[0]


def test_judged_is_the_estimate_that_guidance_did_not_move(comfyui, guide, best_of, sample, world):  # noqa: F811
    """Two wrappers of one MODEL: particles see what the model itself makes of the first state."""
    module = comfyui.module("ppap_core.comfy_bridge.best_of")
    seen, judge = [], module.BestOf._judge

    def watch(self, model_sampling, state, sigma):
        seen.append((state.clone(), float(sigma)))
        return judge(self, model_sampling, state, sigma)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.BestOf, "_judge", watch)
        for model in (world[0], guide(strength=3.0)):
            sample(best_of(model, particles=2, every=1), steps=3)
    (plain, sigma), (guided, same) = seen[0], seen[len(seen) // 2]
    assert sigma == same
    torch.testing.assert_close(guided, plain, rtol=0, atol=1e-5)
