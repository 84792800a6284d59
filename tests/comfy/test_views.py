"""Views against ComfyUI's own previews and VAEs, and against finite differences."""

import numpy
import pytest
import torch

from host import tiny_decoders
from tests.comfy import tiny_models

FORMATS = ("SD15", "SDXL", "SD3", "Flux", "Flux2", "Wan21", "HunyuanVideo")
TAESD = {
    "SD15": ("taesd", 4),
    "SDXL": ("taesdxl", 4),
    "SD3": ("taesd3", 16),
    "Flux": ("taef1", 16),
    "Flux2": ("taef2", 128),
}
TAEHV = {"Wan21": "lighttaew2_1", "HunyuanVideo": "taehv"}
WITH_FACTORS = (*FORMATS, "HunyuanImage21", "SC_Prior", "Cosmos1CV8x8x8", "LTXV", "Wan22")
VIEWED = [("identity", "ChromaRadiance"), *(("linear_rgb", f) for f in WITH_FACTORS)]
VIEWED += [("taesd", f) for f in FORMATS]
VIEWED += [("vae", f) for f in ("SD15", "SD3", "Wan21")]


@pytest.fixture(scope="module")
def views(comfyui):
    return comfyui.module("ppap_core.comfy_bridge.views")


@pytest.fixture(scope="module")
def folder(comfyui):
    """models/vae_approx with a tiny decoder for every format, models/vae with tiny VAEs."""
    models = comfyui.base / "models"
    for name, channels in TAESD.values():
        tiny_decoders.save_taesd(models / "vae_approx", name, channels)
    for format_name, name in TAEHV.items():
        dtype = torch.float16 if format_name == "HunyuanVideo" else torch.float32
        tiny_decoders.save_taehv(models / "vae_approx" / f"{name}.safetensors", dtype)
    (models / "vae").mkdir(exist_ok=True)
    tiny_decoders.save_kl(models / "vae" / "SD15.safetensors", 4)
    tiny_decoders.save_kl(models / "vae" / "SD3.safetensors", 16)
    tiny_decoders.save_wan(models / "vae" / "Wan21.safetensors")
    return models


@pytest.fixture(scope="module")
def model_of(comfyui):
    """Name of a latent format -> MODEL that works in it."""
    import comfy.latent_formats

    with torch.inference_mode():
        base, _ = comfyui.node("PPAP_LoadPixelModel").execute("demo-scenes.safetensors").args

    def build(name):
        model = base.clone()
        with torch.inference_mode():  # as loaders do: Wan's format then holds inference tensors
            model.add_object_patch("latent_format", getattr(comfy.latent_formats, name)())
        return model

    return build


def state_of(model, batch=2, frames=1, side=6):
    latent_format = model.get_model_object("latent_format")
    time = [frames] if latent_format.latent_dimensions == 3 else []
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, latent_format.latent_channels, *time, side, side, generator=generator)


def load_vae(comfyui, name):
    with torch.inference_mode():
        return comfyui.nodes.VAELoader().load_vae(name)[0]


def built(comfyui, views, model, name, format_name):
    vae = load_vae(comfyui, f"{format_name}.safetensors") if name == "vae" else None
    with torch.inference_mode():
        return views.build_view(name, model, vae)


@pytest.mark.parametrize("name", WITH_FACTORS)
def test_linear_rgb_is_comfyuis_own_preview(views, model_of, name):
    import latent_preview

    model = model_of(name)
    state = state_of(model)
    latent_format = model.get_model_object("latent_format")
    previewer = latent_preview.Latent2RGBPreviewer(
        latent_format.latent_rgb_factors,
        latent_format.latent_rgb_factors_bias,
        latent_format.latent_rgb_factors_reshape,
    )
    expected = numpy.asarray(previewer.decode_latent_to_preview(state)).astype(int)
    image = views.build_view("linear_rgb", model).view(state)[0]
    got = ((image.movedim(0, -1) + 1) / 2).clamp(0, 1).mul(255).byte().numpy().astype(int)
    assert expected.std() > 5
    assert abs(got - expected).max() <= 1  # of 255: rounding


@pytest.mark.parametrize("name", sorted(TAESD))
def test_taesd_view_matches_comfyuis_taesd_vae(comfyui, views, folder, model_of, name):
    """VAELoader's tiny VAE takes latents after process_out, the view takes them before."""
    model = model_of(name)
    state = state_of(model)
    assert_decodes_like(comfyui, views, model, state, "taesd", TAESD[name][0])


@pytest.mark.parametrize("name", sorted(TAEHV))
@pytest.mark.parametrize("frames", [1, 3])
def test_taesd_view_is_comfyuis_tiny_video_vae(comfyui, views, folder, model_of, name, frames):
    model = model_of(name)
    state = state_of(model, frames=frames)
    assert_decodes_like(comfyui, views, model, state, "taesd", f"{TAEHV[name]}.safetensors")


@pytest.mark.parametrize(("name", "frames"), [("SD15", 1), ("SD3", 1), ("Wan21", 1), ("Wan21", 3)])
def test_vae_view_is_the_users_vae(comfyui, views, folder, model_of, name, frames):
    model = model_of(name)
    state = state_of(model, frames=frames)
    assert_decodes_like(comfyui, views, model, state, "vae", f"{name}.safetensors")


@pytest.mark.parametrize("name", ["taesd", "taef2", "pixel_space"])
def test_vae_view_copies_vaes_that_come_from_no_single_file(comfyui, views, folder, model_of, name):
    formats = {"taesd": "SD15", "taef2": "Flux2", "pixel_space": "ChromaRadiance"}
    model = model_of(formats[name])
    assert_decodes_like(comfyui, views, model, state_of(model), "vae", name)


def assert_decodes_like(comfyui, views, model, state, view, vae_name):
    vae = load_vae(comfyui, vae_name)
    with torch.inference_mode():
        image = views.build_view(view, model, vae).view(state)
        latent = model.get_model_object("latent_format").process_out(state)
        expected = vae.decode(latent).flatten(0, -4).movedim(-1, 1)  # of each picture and frame
    got = ((image + 1) / 2).clamp(0, 1)
    assert expected.std() > 0.02
    torch.testing.assert_close(got, expected.clamp(0, 1), rtol=0, atol=1e-3)


def move_when_loaded(monkeypatch, patcher):
    """On a GPU ComfyUI moves weights inside inference mode; emulated by moves that copy."""
    patcher_class = type(patcher).__mro__[1]
    load = patcher_class.partially_load

    def load_and_move(self, *args, **kwargs):
        self.model.to(torch.float64).to(torch.float32)
        return load(self, *args, **kwargs)

    monkeypatch.setattr(patcher_class, "partially_load", load_and_move)


@pytest.mark.parametrize(("name", "format_name"), VIEWED)
def test_gradients_agree_with_finite_differences_after_a_device_move(
    comfyui, views, folder, model_of, monkeypatch, name, format_name
):
    """The gradient in float32; differences in float64, where they are exact enough to tell."""
    import comfy.model_management

    model = model_of(format_name)
    view = built(comfyui, views, model, name, format_name)
    for patcher in view.patchers:
        move_when_loaded(monkeypatch, patcher)
    state = state_of(model, batch=1, frames=2, side=4)
    with torch.inference_mode():
        comfy.model_management.load_models_gpu(view.patchers)
        _, gradient = value_and_gradient(view.view, state)
        assert gradient.dtype == torch.float32
        with torch.inference_mode(False):
            for patcher in view.patchers:
                patcher.model.double()
        step = 1e-3 * gradient.double() / gradient.norm()
        ahead, behind = (value_and_gradient(view.view, state + s)[0] for s in (step, -step))
    for patcher in view.patchers:
        patcher.model.float()  # some are kept for the next model
    assert ((ahead - behind) / 2e-3).item() == pytest.approx(gradient.norm().item(), rel=1e-3)


def value_and_gradient(view, state):
    with torch.inference_mode(False), torch.enable_grad():
        state = state.clone().requires_grad_(True)
        image = view(state).double()
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(image.shape, generator=generator, dtype=torch.float64)
        value = (weights * image).sum()
        return value.detach(), torch.autograd.grad(value, state)[0]


@pytest.mark.parametrize(
    ("format_name", "expected"),
    [("ChromaRadiance", "identity"), ("SD15", "taesd"), ("Wan22", "linear_rgb")],
)
def test_auto_is_the_clearest_view_that_there_is(views, model_of, folder, format_name, expected):
    assert views.build_view("auto", model_of(format_name)).name == expected


def test_auto_view_is_the_vae_if_there_is_no_tiny_decoder(views, model_of, comfyui, folder):
    model = model_of("SD_X4")
    model.get_model_object("latent_format").latent_rgb_factors = None
    model.get_model_object("latent_format").spacial_downscale_ratio = 8
    vae = load_vae(comfyui, "SD15.safetensors")
    assert views.build_view("auto", model, vae).name == "vae"
    with pytest.raises(ValueError, match="no tiny decoder for SD_X4.*connect a VAE"):
        views.build_view("auto", model)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("auto", "auto"), ("x0_hat", "auto")),
        (("auto", "linear_rgb"), ("x0_hat", "linear_rgb")),
        (("x_t", "auto"), ("x_t", "auto")),
        (("x_t", "vae"), ("x_t", "vae")),
    ],
)
def test_a_guider_without_experts_reads_the_estimate(comfyui, chosen, expected):
    guide, reading = (comfyui.module(f"ppap_core.{n}") for n in ("comfy_bridge.guide", "reading"))
    guider = tiny_models.tiny_guider(comfyui)
    settled = guide.settle_reading(reading.Reading(*chosen), guider)
    assert settled == reading.Reading(*expected)


def test_a_missing_tiny_decoder_is_named_with_its_folder(views, model_of, comfyui):
    match = r"lighttaew2_2\.safetensors .*models.vae_approx"
    with pytest.raises(ValueError, match=match):
        views.build_view("taesd", model_of("Wan22"))


def test_a_tiny_decoder_for_other_latents_is_refused(views, model_of, folder):
    model = model_of("SD3")
    model.get_model_object("latent_format").taesd_decoder_name = "taesd_decoder"
    with pytest.raises(ValueError, match="taesd_decoder.*no decoder of 16 channels"):
        views.build_view("taesd", model)


def test_a_vae_for_other_latents_is_refused(comfyui, views, folder, model_of):
    vae = load_vae(comfyui, "SD15.safetensors")
    with pytest.raises(ValueError, match=r"\(4, 2\).*SD3 has \(16, 2\)"):
        views.build_view("vae", model_of("SD3"), vae)
    with pytest.raises(ValueError, match=r"\(4, 2\).*Wan21 has \(16, 3\)"):
        views.build_view("vae", model_of("Wan21"), vae)


@pytest.mark.parametrize(
    ("view", "format_name", "message"),
    [
        ("vae", "SD15", "connect the one that decodes this model"),
        ("identity", "SD15", "identity is for pixel models.*SD15"),
        ("linear_rgb", "CogVideoX", "no RGB factors for CogVideoX"),
        ("linear_rgb", "StableAudio1", "StableAudio1 .audio"),
        ("auto", "ACEAudio", "ACEAudio .audio"),
        ("rgb", "SD15", "view is one of auto, .*got 'rgb'"),
    ],
)
def test_view_that_does_not_fit_the_model_is_refused(views, model_of, view, format_name, message):
    with pytest.raises(ValueError, match=message):
        views.build_view(view, model_of(format_name))


def test_vae_copy_is_made_once_and_freed_with_the_vae(comfyui, views, folder, model_of):
    import gc

    decoders = comfyui.module("ppap_core.comfy_bridge.decoders")
    model, vae = model_of("SD15"), load_vae(comfyui, "SD15.safetensors")
    first, again = (views.build_view("vae", model, vae) for _ in range(2))
    assert first.patchers[0] is again.patchers[0]
    assert first.patchers[0].model is not vae.first_stage_model
    key = vae.first_stage_model
    assert key in decoders._own_decoders
    before = len(decoders._own_decoders)
    del vae, key, first, again
    gc.collect()
    assert len(decoders._own_decoders) < before
