"""Every node, as ComfyUI calls it: inside torch.inference_mode(), with the shipped demo models."""

import json
import re
from pathlib import Path

import pytest
import torch


def demo_guider(comfyui, experts=True):
    guider, _ = comfyui.node("PPAP_LoadGuider").execute("demo-shapes-resnet").args
    if not experts:
        return guider
    file = "demo-shapes-resnet.safetensors"
    return comfyui.node("PPAP_LoadExperts").execute(guider, file).args[0]


def target(comfyui, guider, classes="torus"):
    return comfyui.node("PPAP_TargetClass").execute(guider, classes, 1.0).args[0]


@pytest.fixture(scope="module")
def world(comfyui):
    """MODEL, its empty conditioning, a guider with experts and a latent, made as ComfyUI does."""
    with torch.inference_mode():
        model, empty = comfyui.node("PPAP_LoadPixelModel").execute("demo-scenes.safetensors").args
        guider = demo_guider(comfyui)
    return model, empty, guider, {"samples": torch.zeros(2, 3, 32, 32)}


def guided(comfyui, world, batch=2, seed=0, guider="default", classes="torus", **changes):
    model, empty, default, _ = world
    guider = default if guider == "default" else guider
    settings = {
        "strength": 2.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    } | changes
    with torch.inference_mode():
        return sample(
            comfyui,
            world,
            batch=batch,
            seed=seed,
            guider=guider,
            target=guider and target(comfyui, guider, classes),
            **settings,
        )


def sample(comfyui, world, batch, seed, latent=None, **guidance):
    model, empty, _, _ = world
    latent = latent or {"samples": torch.zeros(batch, 3, 32, 32)}
    node = comfyui.node("PPAP_GuidedKSampler")
    out, _ = node.execute(
        model=model,
        seed=seed,
        steps=6,
        cfg=1.0,
        sampler_name="ddim",
        scheduler="ddim_uniform",
        positive=empty,
        negative=empty,
        latent_image=latent,
        denoise=1.0,
        **guidance,
    ).args
    return out["samples"]


def plain(comfyui, world, batch=2, seed=0):
    model, empty, _, _ = world
    with torch.inference_mode():
        (out,) = comfyui.nodes.KSampler().sample(
            model,
            seed,
            6,
            1.0,
            "ddim",
            "ddim_uniform",
            empty,
            empty,
            {"samples": torch.zeros(batch, 3, 32, 32)},
        )
    return out["samples"]


def test_guidance_changes_the_picture(comfyui, world):
    assert (guided(comfyui, world) - plain(comfyui, world)).abs().mean() > 0.02


@pytest.mark.parametrize(
    "off",
    [
        {"strength": 0.0},
        {"start_percent": 0.7, "end_percent": 0.7},
        {"start_percent": 0.9, "end_percent": 0.2},
        {"guider": None},
    ],
)
def test_guidance_that_is_off_gives_the_unguided_picture_bit_for_bit(comfyui, world, off):
    assert torch.equal(guided(comfyui, world, **off), plain(comfyui, world))


@pytest.mark.parametrize(
    ("off", "words"),
    [
        ({"guider": None}, "no guider and no target is connected"),
        ({"start_percent": 0.9, "end_percent": 0.2}, "start_percent 0.9 is not below end_percent"),
        ({"strength": 0.0}, None),
    ],
)
def test_pictures_that_will_be_unguided_are_announced(
    comfyui, world, monkeypatch, caplog, off, words
):
    """Unless that is what was asked for."""
    shown = []
    guide = comfyui.module("ppap_core.comfy_bridge.guide")
    monkeypatch.setattr(guide, "show_on_node", lambda lines, **_: shown.extend(lines))
    guided(comfyui, world, **off)
    told = [line for line in shown if "will be unguided" in line]
    assert bool(told) == bool(words)
    assert all(words in line and line in caplog.text for line in told)


def test_a_target_that_is_missing_is_announced(comfyui, world, caplog):
    model, _, guider, _ = world
    node = comfyui.node("PPAP_ApplyGuidance")
    with torch.inference_mode():
        (same,) = node.execute(model=model, guider=guider, strength=2.0).args
    assert same is model
    assert "no target is connected, or what is connected is muted" in caplog.text


def test_same_seed_gives_the_same_picture(comfyui, world):
    assert torch.equal(guided(comfyui, world, seed=7), guided(comfyui, world, seed=7))


def test_a_picture_does_not_depend_on_its_batch_neighbours(comfyui, world):
    # The default, jvp, magnifies what kernels of another batch size round otherwise; what is met
    # fades, or else the last steps would follow that rounding for a hundredth of the range.
    by_default, plain = (
        (guided(comfyui, world, batch=2, **how)[:1] - guided(comfyui, world, batch=1, **how)).abs()
        for how in ({}, {"jacobian": "none"})  # the noise of a batch begins with that of one
    )
    assert plain.max() < 1e-4
    assert by_default.mean() < 1e-4 and by_default.max() < 1e-2


def test_experts_change_the_guided_picture(comfyui, world):
    naive = guided(comfyui, world, guider=demo_guider(comfyui, experts=False))
    assert (guided(comfyui, world) - naive).abs().mean() > 0.02


def test_no_experts_leave_the_guider_as_it_is(comfyui):
    alone = demo_guider(comfyui, experts=False)
    loaded, info = comfyui.node("PPAP_LoadExperts").execute(alone, "none").args
    assert loaded is alone and "guides alone" in info
    assert comfyui.node("PPAP_LoadExperts").fingerprint_inputs("none") == 0


def test_the_guider_is_restored_after_sampling(comfyui, world):
    guider = world[2].guider
    before = {k: v.clone() for k, v in guider.state_dict().items()}
    guided(comfyui, world)
    assert guider.switch.active is None
    assert all(torch.equal(v, before[k]) for k, v in guider.state_dict().items())


def test_an_interval_guides_only_its_share_of_the_schedule(comfyui, world):
    early = guided(comfyui, world, end_percent=0.5)
    late = guided(comfyui, world, start_percent=0.5)
    whole = guided(comfyui, world)
    assert not torch.equal(early, late)
    assert not torch.equal(early, whole)
    assert not torch.equal(late, whole)


def test_apply_guidance_and_guided_ksampler_agree(comfyui, world):
    model, empty, guider, latent = world
    with torch.inference_mode():
        (patched,) = (
            comfyui.node("PPAP_ApplyGuidance")
            .execute(
                model=model,
                guider=guider,
                target=target(comfyui, guider),
                strength=2.0,
                start_percent=0.0,
                end_percent=1.0,
            )
            .args
        )
    assert torch.equal(
        plain(comfyui, (patched, *world[1:])),
        guided(comfyui, world),
    )


def test_guidance_survives_a_device_move_inside_inference_mode(comfyui, world, monkeypatch):
    """On a GPU ComfyUI moves weights inside inference mode; emulated by a move that copies."""
    guider = demo_guider(comfyui)
    patcher_class = type(guider.patcher)
    load = patcher_class.__mro__[1].partially_load

    def load_and_move(self, *args, **kwargs):
        self.model.to(torch.float64)
        self.model.to(torch.float32)
        return load(self, *args, **kwargs)

    monkeypatch.setattr(patcher_class.__mro__[1], "partially_load", load_and_move)
    moved = guided(comfyui, world, guider=guider)
    assert not any(p.is_inference() for p in guider.guider.parameters())
    assert torch.equal(moved, guided(comfyui, world))


def test_cancelling_stops_within_a_step_and_the_next_run_is_clean(comfyui, world):
    import comfy.model_management as management

    guider = world[2].guider
    calls = []

    def interrupt_at_third_call(module, args):
        calls.append(1)
        if len(calls) == 3:
            management.interrupt_current_processing()

    handle = guider.register_forward_pre_hook(interrupt_at_third_call)
    with pytest.raises(management.InterruptProcessingException):
        guided(comfyui, world)
    handle.remove()
    assert len(calls) == 3
    assert guider.switch.active is None
    assert torch.isfinite(guided(comfyui, world)).all()


def test_comfyuis_modules_are_not_patched(comfyui, world):
    """Loading the pack and guiding a picture replace no function or method of ComfyUI's."""
    guided(comfyui, world)
    after = comfyui.functions()
    assert len(comfyui.before) > 5000
    assert [name for name, old in comfyui.before.items() if after.get(name) is not old] == []
    assert torch.equal(plain(comfyui, world), plain(comfyui, world))


def test_an_unknown_class_is_refused_with_the_nearest_names(comfyui, world):
    with pytest.raises(ValueError, match="'coen'.*did you mean 'cone'"):
        target(comfyui, world[2], "coen")


def test_a_model_of_another_latent_format_is_refused(comfyui, world):
    import comfy.latent_formats

    model, *rest = world
    other = model.clone()
    other.add_object_patch("latent_format", comfy.latent_formats.SD15())
    with pytest.raises(ValueError, match="ChromaRadiance.*SD15"):
        guided(comfyui, (other, *rest))


def test_a_packed_latent_is_refused_before_anything_is_loaded(comfyui, world, monkeypatch):
    """A picture with sound, as ComfyUI packs the two into one row."""
    import comfy.model_management

    model, empty, guider, _ = world
    hook = comfyui.module("ppap_core.comfy_bridge.hook")
    loaded = []
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *a, **k: loaded.append(a))
    with pytest.raises(ValueError, match="packed or audio"):
        hook.ModelGuidance(()).prepare(None, model, torch.Size([1, 1, 3072]), {})
    assert not loaded


def test_an_image_to_image_model_is_refused(comfyui):
    import comfy.model_sampling

    levels = comfyui.module("ppap_core.comfy_bridge.noise_levels")
    with pytest.raises(ValueError, match="noise level"):
        levels.noise_coefficients(comfy.model_sampling.IMG_TO_IMG(), torch.ones(1))


def image_to_image_kinds():
    """Of this host and of later ones: Marigold's velocity, an unscaled estimate under any name."""
    import comfy.model_sampling as host

    class Velocity(host.CONST):
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return latent_image

        def inverse_noise_scaling(self, sigma, latent):
            return latent

    class Estimate(host.X0):
        def calculate_input(self, sigma, noise):
            return noise

    return {
        **{kind.__name__: kind for kind in (host.IMG_TO_IMG, host.IMG_TO_IMG_FLOW)},
        **{"velocity": Velocity, "estimate": Estimate},
    }


@pytest.mark.parametrize("schedule", ["ModelSamplingDiscrete", "ModelSamplingFlux"])
@pytest.mark.parametrize("kind", ["IMG_TO_IMG", "IMG_TO_IMG_FLOW", "velocity", "estimate"])
def test_any_image_to_image_kind_is_refused_by_what_it_does(comfyui, kind, schedule):
    import comfy.model_sampling as host

    levels = comfyui.module("ppap_core.comfy_bridge.noise_levels")
    sampling = type("Sampling", (getattr(host, schedule), image_to_image_kinds()[kind]), {})()
    with pytest.raises(ValueError, match="turns one image into another without noise"):
        levels.noise_coefficients(sampling, torch.ones(1))


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        *(("ModelSamplingDiscrete", kind) for kind in ("EPS", "V_PREDICTION", "X0")),
        *(("ModelSamplingDiscrete", kind) for kind in ("EDM", "V_PREDICTION_DDPM")),
        *(("ModelSamplingContinuousEDM", kind) for kind in ("EDM", "V_PREDICTION", "EPS")),
        ("ModelSamplingFlux", "CONST"),
        ("ModelSamplingDiscreteFlow", "CONST"),
        ("StableCascadeSampling", "EPS"),
        ("ModelSamplingCosmosRFlow", "COSMOS_RFLOW"),
    ],
)
def test_kinds_with_a_noise_level_are_not_taken_for_them(comfyui, schedule, kind):
    import comfy.model_sampling as host

    levels = comfyui.module("ppap_core.comfy_bridge.noise_levels")
    sampling = type("Sampling", (getattr(host, schedule), getattr(host, kind)), {})()
    with torch.inference_mode():
        assert len(levels.noise_coefficients(sampling, torch.full((1,), 0.5))) == 2


def test_new_model_folders_list_safetensors_and_what_their_nodes_speak_of(comfyui):
    import folder_paths

    pickles = {"ppap_pixel_models": {".pt"}, "ppap_score_heads": {".pth", ".pt", ".bin", ".ckpt"}}
    for name in ("ppap_guiders", "ppap_experts", "ppap_pixel_models", "ppap_score_heads"):
        more = pickles.get(name, set())
        assert folder_paths.folder_names_and_paths[name][1] == {".safetensors"} | more
        *own, last = map(Path, folder_paths.get_folder_paths(name))
        assert set(own) == {Path(folder_paths.models_dir) / name, comfyui.base / "more" / name}
        assert last == Path(comfyui.pack.__file__).parent / "demo" / "models" / name


def test_every_input_of_every_node_has_a_tooltip(comfyui):
    ids = [name for name in comfyui.nodes.NODE_CLASS_MAPPINGS if name.startswith("PPAP_")]
    recorded = Path(__file__).with_name("promises.json").read_text("utf-8")
    assert set(ids) == set(json.loads(recorded))
    for name in ids:
        schema = comfyui.node(name).define_schema()
        assert schema.description and schema.search_aliases
        assert all(entry.tooltip for entry in schema.inputs), name


@pytest.mark.slow
def test_every_sampler_with_every_scheduler_runs_guided(comfyui, world):
    """Whatever is not finite must be so without guidance too; such pairs are named."""
    import comfy.samplers

    model, empty, guider, _ = world
    with torch.inference_mode():
        patched = comfyui.module("nodes.sampling").guide_model(
            model, guider, target(comfyui, guider), 10.0
        )
    broken = []
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        for scheduler in comfy.samplers.KSampler.SCHEDULERS:
            if run_four_steps(patched, empty, sampler, scheduler).isfinite().all():
                continue
            unguided = run_four_steps(model, empty, sampler, scheduler)
            assert not unguided.isfinite().all(), f"{sampler}, {scheduler}: broken by guidance"
            broken.append(f"{sampler} with {scheduler}")
    assert not broken, f"not finite in the host itself: {broken}"


def run_four_steps(model, empty, sampler, scheduler):
    import comfy.sample

    latent = torch.zeros(1, 3, 32, 32)
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, 0),
            4,
            1.0,
            sampler,
            scheduler,
            empty,
            empty,
            latent,
            disable_pbar=True,
            seed=0,
        )


def options(comfyui, region=None, conflict="sum", **numbers):
    settings = {"max_norm": 0.0, "every": 1, "momentum": 0.0, "second_moment": 0.0}
    settings |= {"spectrum": "auto", "when_met": "auto", "scale_rule": "recommended"} | numbers
    node = comfyui.node("PPAP_GuidanceOptions")
    return node.execute(conflict=conflict, region=region, **settings).args[0]


def test_default_options_change_nothing(comfyui, world):
    assert torch.equal(guided(comfyui, world, options=options(comfyui)), guided(comfyui, world))


def test_guidance_acts_in_its_region(comfyui, world):
    """At the very end, when the model has no step left to spread it over the picture."""
    with torch.inference_mode():
        region = torch.zeros(1, 32, 32)
        region[:, :, :16] = 1.0
    shaped = guided(comfyui, world, options=options(comfyui, region), start_percent=0.99)
    left, right = (shaped - plain(comfyui, world)).abs().mean((0, 1, 2)).split(16)
    assert left.min() > 0
    assert right.max() == 0


@pytest.mark.parametrize(
    "changes",
    [{"momentum": 0.5}, {"second_moment": 0.5}, {"max_norm": 0.02}, {"every": 2}],
)
def test_every_option_changes_the_picture_and_keeps_it_finite(comfyui, world, changes):
    changed = guided(comfyui, world, options=options(comfyui, **changes))
    assert changed.isfinite().all()
    assert not torch.equal(changed, guided(comfyui, world))


def chained(comfyui, world, conflict):
    """Torus first, then its opposite."""
    model, empty, guider, _ = world
    settings = {"strength": 0.25, "jacobian": "none"}
    settings |= {"start_percent": 0.0, "end_percent": 1.0}
    apply = comfyui.node("PPAP_ApplyGuidance").execute
    with torch.inference_mode():
        toward, away = (target(comfyui, guider, f"torus:{weight}") for weight in (1, -1))
        (model,) = apply(model=model, guider=guider, target=toward, **settings).args
        (model,) = apply(
            model=model,
            guider=guider,
            target=away,
            options=options(comfyui, conflict=conflict),
            **settings,
        ).args
        return sample(comfyui, (model, empty, None, None), batch=2, seed=0)


def test_give_way_leaves_the_first_guidances_picture_nearly_unchanged(comfyui, world):
    settings = {"strength": 0.25, "jacobian": "none"}
    first = guided(comfyui, world, **settings)
    yielding = (chained(comfyui, world, "give way") - first).abs().mean()
    adding = (chained(comfyui, world, "sum") - first).abs().mean()
    assert yielding < 0.1 * adding


def test_the_log_says_what_guidance_did(comfyui, world, caplog):
    caplog.set_level("INFO")
    guided(comfyui, world)
    told = r"class guidance by resnet10t: .*the classifier was .* % sure of .*; guided 7 of 7 steps"
    assert re.search(told, caplog.text)
    guided(comfyui, world, start_percent=0.999)
    assert "did nothing: no step's noise lies in its part of the schedule" in caplog.text


def test_guidance_memory_is_added_to_comfyuis_estimate(comfyui, world, monkeypatch):
    import comfy.model_management

    asked, load = [], comfy.model_management.load_models_gpu

    def note(models, memory_required=0, minimum_memory_required=None, **options):
        asked.append((memory_required, minimum_memory_required))
        return load(
            models, memory_required, minimum_memory_required=minimum_memory_required, **options
        )

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", note)
    plain(comfyui, world)
    guided(comfyui, world)
    (without, least_without), (with_guidance, least) = asked
    guider = world[2].guider
    expected = comfyui.module("ppap_core.activations").activation_bytes(guider, (1, 3, 32, 32))
    assert least - least_without >= 2 * expected > 1e5
    assert with_guidance - without >= 2 * expected


def report(comfyui, model, latent, num_steps=4):
    with torch.inference_mode():
        node = comfyui.node("PPAP_GuidanceReport")
        return node.execute(model=model, latent=latent, num_steps=num_steps).args


def run_and_report(comfyui, world, **settings):
    """PPAP Guided KSampler's two outputs, the second into the report."""
    model, empty, guider, latent = world
    values = {"strength": 1.0}
    values |= {"start_percent": 0.0, "end_percent": 1.0} | settings
    with torch.inference_mode():
        sampled, guided_model = (
            comfyui.node("PPAP_GuidedKSampler")
            .execute(
                **{"model": model, "seed": 0, "steps": 6, "cfg": 1.0, "sampler_name": "ddim"},
                **{"scheduler": "ddim_uniform", "positive": empty, "negative": empty},
                **{"latent_image": latent, "denoise": 1.0, "guider": guider},
                target=target(comfyui, guider),
                **values,
            )
            .args
        )
    return report(comfyui, guided_model, sampled)


def test_the_report_shows_what_guidance_did(comfyui, world):
    curves, steps, text = run_and_report(comfyui, world)
    assert "guided 7 of 7 steps" in text and "experts 0, 1, 2, 3, 4 of 5 answered" in text
    for picture in (curves, steps):
        assert picture.ndim == 4 and picture.shape[-1] == 3 and picture.std() > 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": 0.0}, "nothing guides this model"),
        ({"strength": 1e-4}, "next to nothing: raise strength"),
        ({"start_percent": 0.9999}, "widen start_percent and end_percent"),
    ],
)
def test_report_says_why_guidance_had_no_effect(comfyui, world, settings, words):
    curves, steps, text = run_and_report(comfyui, world, **settings)
    assert words in text
    assert curves.shape[-1] == steps.shape[-1] == 3


def sweep(comfyui, world, strengths, **changes):
    model, empty, guider, latent = world
    with torch.inference_mode():
        vae = comfyui.nodes.VAELoader().load_vae("pixel_space")[0]
        settings = {
            **{"model": model, "vae": vae, "seed": 0, "steps": 6, "cfg": 1.0, "denoise": 1.0},
            **{"sampler_name": "ddim", "scheduler": "ddim_uniform"},
            **{"positive": empty, "negative": empty, "latent_image": latent, "guider": guider},
            **{"target": target(comfyui, guider), "start_percent": 0.0, "end_percent": 1.0},
        }
        return (
            comfyui.node("PPAP_ScaleSweep").execute(strengths=strengths, **settings | changes).args
        )


def test_sweep_shows_the_samplers_picture_at_each_strength(comfyui, world):
    grid, images = sweep(comfyui, world, "0，１、3")  # as East Asian keyboards write them
    assert images.shape == (6, 32, 32, 3)  # two pictures under three strengths
    for strength, pair in zip((0.0, 1.0, 3.0), images.split(2), strict=True):
        expected = guided(comfyui, world, strength=strength)
        shown = ((expected + 1) / 2).clamp(0, 1).movedim(1, -1)
        torch.testing.assert_close(pair, shown, rtol=0, atol=1e-5)
    assert grid.shape[1] > 2 * 256 and grid.shape[2] > 3 * 256


@pytest.mark.parametrize("strengths", ["", "strong", "nan", "1, inf", "1 " * 13])
def test_unreadable_list_of_strengths_is_refused(comfyui, world, strengths):
    with pytest.raises(ValueError, match="strengths"):
        sweep(comfyui, world, strengths)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..\\secret", "a/../../secret"])
def test_a_name_cannot_leave_the_model_folders(comfyui, name):
    secret = comfyui.base / "secret"
    secret.write_bytes(b"x")
    folders = comfyui.module("ppap_core.comfy_bridge.folders")
    for kind in (folders.EXPERTS, folders.PIXEL_MODELS, folders.SCORE_HEADS):
        with pytest.raises(FileNotFoundError):
            folders.file_path(kind, name)
    with pytest.raises(ValueError, match="no guider"):
        comfyui.module("ppap_core.comfy_bridge.guiders").load_named_guider(name)
