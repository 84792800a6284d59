"""Files of pixel models, loaded and sampled in ComfyUI."""

import json
import pickle
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from tests.core.reference_adm import UNetModel


@pytest.fixture(scope="module")
def adm():
    torch.manual_seed(0)
    net = UNetModel(32, 1, (2,), (1, 2)).eval().requires_grad_(False)
    net.out[2].weight *= 0.3
    return net


def store(adm, folder, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny_adm{suffix}"
    if suffix == ".pt":
        torch.save(adm.state_dict(), path)
    else:
        save_file(adm.state_dict(), path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_adm_checkpoints_estimate_follows_from_its_eps(comfyui, adm, suffix):
    """denoised = x - sigma eps(x / sqrt(1 + sigma^2), t), with DDPM-linear's sigma of t."""
    path = store(adm, comfyui.base / "models" / "ppap_pixel_models", suffix)
    noise = comfyui.module("ppap_core.noise")
    with torch.inference_mode():
        model, _ = comfyui.node("PPAP_LoadPixelModel").execute(path.name).args
    timestep = torch.tensor([400.0])
    sigma = noise.timestep_to_sigma_ve(timestep).float()
    x = sigma * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = x - sigma * adm(x / (1 + sigma**2).sqrt(), timestep)[:, :3]
    torch.testing.assert_close(model.model.apply_model(x, sigma), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_trainer_takes_an_adm_checkpoint_for_a_pixel_model(comfyui, adm, tmp_path, suffix):
    module = comfyui.module("ppap_core.comfy_bridge.checkpoint")
    checkpoint = module.load_checkpoint(store(adm, tmp_path, suffix))
    assert checkpoint.works_on_pixels
    assert checkpoint.vae is None
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert checkpoint.model.model.apply_model(noise, torch.ones(1)).isfinite().all()


def test_latent_network_with_adms_names_is_refused(comfyui, adm, tmp_path):
    module = comfyui.module("ppap_core.comfy_bridge.pixel_model")
    weights = adm.state_dict()
    weights["input_blocks.0.0.weight"] = torch.zeros(32, 4, 3, 3)
    for path, save in ((tmp_path / "a.safetensors", save_file), (tmp_path / "a.pt", torch.save)):
        save(weights, path)
        assert not module.is_pixel_model(path)


def test_a_pickle_that_holds_code_is_refused(comfyui, tmp_path):
    module = comfyui.module("ppap_core.comfy_bridge.pixel_model")
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"x": pytest.raises}, protocol=2))
    with pytest.raises(ValueError, match="pixel model 'evil.pt': "):
        module.load_pixel_model(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_of_another_kind_is_refused(comfyui, tmp_path, suffix):
    module = comfyui.module("ppap_core.comfy_bridge.pixel_model")
    path = store(torch.nn.Linear(2, 2), tmp_path, suffix)
    with pytest.raises(ValueError, match="tiny_adm.*weights are not ADM's: this is no pixel model"):
        module.load_pixel_model(path)


def test_a_missing_or_damaged_file_is_refused(comfyui, tmp_path):
    module = comfyui.module("ppap_core.comfy_bridge.pixel_model")
    with pytest.raises(ValueError, match="pixel model 'none.pt'"):
        module.load_pixel_model(tmp_path / "none.pt")
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"damaged{suffix}"
        for content in (b"no tensors", b""):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=f"pixel model 'damaged{suffix}'"):
                module.load_pixel_model(path)
            assert not module.is_pixel_model(path)


def test_class_conditional_model_uses_each_pictures_class_with_cfg(comfyui, tmp_path):
    """Classifier-free guidance, none + s (class - none), by the network itself."""
    import comfy.model_management

    sizes = {"image_size": 8, "model_channels": 8, "channel_mult": (1, 2), "num_res_blocks": 1}
    unet = comfyui.module("ppap_core.pixel_unet")
    config = unet.PixelUNetConfig(**sizes, attention_levels=(), num_head_channels=8, num_classes=3)
    torch.manual_seed(0)
    net = unet.PixelUNet(config).eval().requires_grad_(False)
    path = tmp_path / "classes.safetensors"
    save_file(net.state_dict(), path, {"ppap.pixel_model": json.dumps(asdict(config))})
    bridge = comfyui.module("ppap_core.comfy_bridge.pixel_model")
    denoise = comfyui.module("ppap_core.comfy_bridge.denoise")
    noise = comfyui.module("ppap_core.noise")

    classes, timestep, cfg = torch.tensor([2, 0]), torch.tensor([300.0, 300.0]), 2.5
    cond = bridge.empty_conditioning(class_labels=classes), bridge.empty_conditioning()
    ask = denoise.Denoiser(bridge.load_pixel_model(path), *cond, cfg)
    x_0, eps = torch.randn(2, 2, 3, 8, 8)
    sigma_ve = noise.timestep_to_sigma_ve(timestep).float()
    sigma, alpha = (s[:, None, None, None] for s in (sigma_ve, 1 / (1 + sigma_ve**2).sqrt()))
    x_t = alpha * (x_0 + sigma * eps)
    told, untold = net(x_t, timestep, y=classes), net(x_t, timestep)
    expected = alpha * x_t - alpha * sigma * (untold + cfg * (told - untold))
    device = comfy.model_management.get_torch_device()
    drawn = (tensor.to(device) for tensor in (x_0, sigma_ve, eps))
    torch.testing.assert_close(ask(*drawn).cpu(), expected, rtol=1e-3, atol=1e-3)
