"""What sampling keeps is what a guider of the estimate reads, at any CFG, sampler and family."""

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models
from tests.comfy.stand_in import StandIn


class Listener(StandIn):
    """Guides by nothing, and keeps what it is given to read."""

    def __init__(self, comfyui, guider):
        super().__init__(comfyui, guider)
        self.read = []

    def gradient(self, x_vp, sigma_ve, denoised, denoise):
        self.read.append((float(sigma_ve), denoised.clone()))
        return torch.zeros_like(x_vp)


def sample(comfyui, model, name, cfg, sampler):
    import comfy.sample

    latent = tiny_checkpoints.empty_latent(model, 1)
    other = tiny_checkpoints.conditioning(name)
    words = torch.randn(other[0][0].shape, generator=torch.Generator().manual_seed(1))
    prompt = [[words, other[0][1]]]
    noise = comfy.sample.prepare_noise(latent, 3)
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            noise,
            4,
            cfg,
            sampler,
            "simple",
            prompt,
            other,
            latent,
            disable_pbar=True,
            seed=3,
        )


KINDS = ("SD20", "Flux", "Wan21", "Cosmos", "StableCascade", "ChromaRadiance")
"""v-prediction, flow, video, EDM, its own schedule, pixels."""


@pytest.mark.parametrize(
    ("name", "cfg", "sampler"),
    [
        ("SD15", 1.0, "euler"),
        ("SD15", 5.0, "euler"),
        *((name, 5.0, "dpmpp_2m") for name in ("SD15", *KINDS)),
    ],
)
def test_what_is_kept_is_what_a_guider_reads(comfyui, name, cfg, sampler):
    model = tiny_models.load(comfyui, name)
    listener = Listener(comfyui, tiny_models.tiny_guider(comfyui).guider)
    install = comfyui.module("ppap_core.comfy_bridge.hook").install_guidance
    harvest = comfyui.module("ppap_core.comfy_bridge.harvest").Harvest(model)
    expected = sample(comfyui, model, name, cfg, sampler)
    assert sample(comfyui, harvest.model, name, cfg, sampler).equal(expected)
    sigma_ve, estimates = harvest.take()
    sample(comfyui, install(model, listener), name, cfg, sampler)
    levels, read = zip(*listener.read, strict=True)
    torch.testing.assert_close(sigma_ve, torch.tensor(levels))
    torch.testing.assert_close(estimates.float(), torch.stack(read, 1).cpu(), rtol=2e-3, atol=2e-3)
    with pytest.raises(RuntimeError):
        harvest.take()  # everything was taken
