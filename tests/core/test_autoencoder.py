"""The demo's autoencoder file is a TAESD whose further channels are empty."""

import torch
from safetensors.torch import load_file

from demo.autoencoder import (
    FLUX_SCALE,
    FLUX_SHIFT,
    Autoencoder,
    load_autoencoder,
    save_autoencoder,
)


def test_autoencoder_file_can_be_saved_and_loaded_unchanged(tmp_path):
    torch.manual_seed(0)
    model = Autoencoder().half().float()  # files hold half precision
    save_autoencoder(model.state_dict(), tmp_path / "vae.safetensors")
    again = load_autoencoder(tmp_path / "vae.safetensors").state_dict()
    assert all(again[name].equal(value) for name, value in model.state_dict().items())


def test_the_file_has_taesds_widths_and_fluxs_scaling(tmp_path):
    save_autoencoder(Autoencoder().state_dict(), tmp_path / "vae.safetensors")
    weights = load_file(tmp_path / "vae.safetensors")
    assert weights["taesd_encoder.0.weight"].shape == (64, 3, 3, 3)
    assert weights["taesd_decoder.1.weight"].shape == (64, 16, 3, 3)
    assert weights["vae_scale"] == FLUX_SCALE and weights["vae_shift"] == FLUX_SHIFT
