"""The latent demo's models, as ComfyUI's own loaders read them."""

import pytest
import torch
from torch.nn import functional as F

from demo.autoencoder import load_autoencoder
from demo.judges import load_judge
from demo.paths import AUTOENCODER, JUDGE, LATENT_MODEL
from demo.scenes import render


@pytest.fixture(scope="module")
def scenes():
    """Scenes that no model has seen: training and held-out ones have the seeds 0 and 1."""
    return render(60, seed=7, size=64)


@pytest.fixture(scope="module")
def image(scenes):
    return scenes.pictures()


@pytest.fixture(scope="module")
def vae(comfyui):
    with torch.inference_mode():
        return comfyui.nodes.VAELoader().load_vae(AUTOENCODER.name)[0]


@pytest.fixture(scope="module")
def latent(vae, image):
    with torch.inference_mode():
        return vae.encode((image.movedim(1, -1) + 1) / 2)


def test_autoencoder_reconstructs_pictures(vae, image, latent, scenes):
    assert latent.shape == (60, 16, 8, 8)
    with torch.inference_mode():
        again = vae.decode(latent).movedim(-1, 1) * 2 - 1
        seen = load_judge(JUDGE)(F.interpolate(again, (32, 32), mode="area")).argmax(1)
    psnr = 10 * torch.log10(4 / (again - image).square().mean())
    assert psnr > 27
    assert (seen == scenes.label).float().mean() > 0.95


def test_the_narrow_decoder_gives_the_same_pictures(vae, latent):
    """`evidence.views` samples with it."""
    import comfy.latent_formats

    narrow = load_autoencoder(AUTOENCODER)
    with torch.inference_mode():
        expected = vae.decode(latent[:8]).movedim(-1, 1) * 2 - 1
        got = narrow.decode(comfy.latent_formats.Flux().process_in(latent[:8])).clamp(-1, 1)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-3)


def test_flux_rgb_factors_show_the_demos_latents(comfyui, latent, image):
    import comfy.latent_formats

    latent_format = comfy.latent_formats.Flux()
    linear = comfyui.module("ppap_core.views").LinearRgb(
        latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias
    )
    with torch.inference_mode():
        shown = linear(latent_format.process_in(latent))
    small = F.avg_pool2d(image, 8)
    unexplained = (shown - small).square().mean() / small.var()
    assert unexplained < 0.1


def test_comfyui_detects_the_demos_model_as_flux(comfyui):
    with torch.inference_mode():
        model = comfyui.nodes.UNETLoader().load_unet(LATENT_MODEL.name, "default")[0]
    assert type(model.model).__name__ == "Flux"
    assert type(model.get_model_object("latent_format")).__name__ == "Flux"
