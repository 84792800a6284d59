"""Files of pixel models, loaded and sampled in ComfyUI."""

import pickle

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
def test_an_adm_checkpoint_denoises_as_its_eps_says(comfyui, adm, suffix):
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
        path.write_bytes(b"no tensors")
        with pytest.raises(ValueError, match=f"pixel model 'damaged{suffix}'"):
            module.load_pixel_model(path)
