"""The demo's guided pictures, drawn once more by the papers' formulas alone.

Nothing of the pack and nothing of ComfyUI takes part in the second drawing but the diffusion
network itself: timm loads the guider, experts are merged from the raw file by hand, and the steps
are written out (DDIM: Dhariwal & Nichol, 2021, algorithm 2; DDPM: Ho et al., 2020, equation 7).
"""

import json
import math

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from demo.paths import EXPERTS, GUIDER, PIXEL_MODEL
from demo.shapes import SHAPES
from tests.slow import slow

SCALE, SEED, CLASSES = 10.0, 3, (4, 3)
STEPS = {"x_t": 25, "x0_hat": 10}  # on the estimate, rounding grows from step to step
ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)


def noise():
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(2, 3, 32, 32, generator=generator)


def merged_guiders():
    """(the last noise level, timm's network with that expert in its weights), from low to high."""
    plain = timm.create_model(f"local-dir:{GUIDER}", pretrained=True).eval().state_dict()
    with safe_open(EXPERTS, "pt") as file:
        header = {k: json.loads(v) for k, v in file.metadata().items() if k.startswith("ppap.")}
    tensors, found = load_file(EXPERTS), []
    scaling = header["ppap.lora"]["lora_alpha"] / header["ppap.lora"]["rank"]
    for index, (_, high) in enumerate(header["ppap.noise_ranges"]):
        start = f"experts.{index}.base_model.model."
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        weights = dict(plain)
        for name in header["ppap.lora"]["layers"]:
            a, b = own.pop(f"{name}.lora_A.weight"), own.pop(f"{name}.lora_B.weight")
            change = (b.flatten(1) @ a.flatten(1)).view(weights[f"{name}.weight"].shape)
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + scaling * change
        network = timm.create_model(f"local-dir:{GUIDER}", pretrained=True).eval()
        network.load_state_dict(weights | {k.replace(".base_layer.", "."): own[k] for k in own})
        found.append((high, network.requires_grad_(False)))
    return found


def score(guiders, x, sigma):
    """grad log p(class) in what the guider reads; its mean and deviation of 0.5 leave [-1, 1]."""
    network = next((net for high, net in guiders if sigma < high), guiders[-1][1])
    x = x.float().requires_grad_(True)
    log_p = network(x).log_softmax(dim=1)
    (gradient,) = torch.autograd.grad(sum(log_p[i, k] for i, k in enumerate(CLASSES)), x)
    return gradient.double()


def draw_by_hand(unet, guiders, reads, is_ddpm, seed):
    dice = torch.Generator().manual_seed(seed)
    timesteps = list(range(1, 1000, 1000 // STEPS[reads]))[::-1]  # ComfyUI's "ddim_uniform"
    x = (1 - ABAR[timesteps[0]]).sqrt() * noise().double()  # all that a host starts from
    for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        abar, before = ABAR[t], torch.tensor(1.0) if following is None else ABAR[following]
        with torch.no_grad():
            v = unet(x.float(), torch.full((2,), float(t))).double()
        eps = abar.sqrt() * v + (1 - abar).sqrt() * x  # v = alpha eps - sigma x_0
        sigma = math.sqrt((1 - abar) / abar)
        estimate = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        # With the Jacobian none, that of white data stands for the model's: sqrt(abar).
        read, jacobian = (x, 1.0) if reads == "x_t" else (estimate, abar.sqrt())
        eps = eps - (1 - abar).sqrt() * SCALE * jacobian * score(guiders, read, sigma)
        x_0 = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        if not is_ddpm:
            x = before.sqrt() * x_0 + (1 - before).sqrt() * eps
            continue
        beta = 1 - abar / before
        x = (before.sqrt() * beta * x_0 + (1 - beta).sqrt() * (1 - before) * x) / (1 - abar)
        if before < 1:
            x = x + (beta * (1 - before) / (1 - abar)).sqrt() * torch.randn(x.shape, generator=dice)
    return x


@pytest.mark.parametrize(
    ("sampler", "reads"),
    [("ddim", "x0_hat"), ("ddpm", "x_t"), slow("ddim", "x_t"), slow("ddpm", "x0_hat")],
)
def test_guided_pictures_are_those_of_the_formulas(comfyui, sampler, reads):
    import comfy.sample

    module = comfyui.module
    model = module("ppap_core.comfy_bridge.pixel_model").load_pixel_model(PIXEL_MODEL)
    guider = module("ppap_core.guiders").load_guider(GUIDER)
    experts = module("ppap_core.expert_file").load_experts(EXPERTS)
    targets = module("ppap_core.targets").ClassTarget([{k: 1.0} for k in CLASSES], len(SHAPES))
    strength = module("ppap_core.strength").Strength(SCALE, "raw")
    loaded = module("ppap_core.comfy_bridge.loaded_guider").LoadedGuider.of(guider)
    reading = module("ppap_core.reading").Reading(reads)
    guided = module("ppap_core.comfy_bridge.guide").guide(
        model,
        loaded.with_experts(experts),
        targets,
        strength,
        jacobian="none",
        reading=reading,
    )
    cond = module("ppap_core.comfy_bridge.pixel_model").empty_conditioning()
    with torch.no_grad():
        latent = torch.zeros(2, 3, 32, 32)
        found = comfy.sample.sample(
            guided,
            noise(),
            steps=STEPS[reads],
            cfg=1.0,
            sampler_name=sampler,
            scheduler="ddim_uniform",
            positive=cond,
            negative=cond,
            latent_image=latent,
            disable_pbar=True,
            seed=SEED,
        )
    unet = model.model.diffusion_model.to("cpu")
    seed = SEED + (model.load_device.type == "cpu")  # as ComfyUI seeds the noise of its samplers
    expected = draw_by_hand(unet, merged_guiders(), reads, sampler == "ddpm", seed)
    (outcome,) = module("ppap_core.comfy_bridge.hook").outcomes_of(guided)
    assert outcome.records[-1].log_likelihood > outcome.records[0].log_likelihood
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)
