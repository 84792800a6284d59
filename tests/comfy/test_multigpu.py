"""ComfyUI's MultiGPU CFG Split: guidance is what it is on one device.

The second device is the processor under another name, which PyTorch takes for another device.
"""

import pytest
import torch

from host import tiny_checkpoints, tiny_decoders
from tests.comfy import tiny_models
from tests.slow import slow

SECOND = torch.device("cpu", 0)


@pytest.fixture(scope="module")
def world(comfyui):
    """MODEL of a checkpoint, and a guider, its target and a VAE."""
    model, guider = tiny_models.load(comfyui, "SD15"), tiny_models.tiny_guider(comfyui)
    folder = comfyui.base / "models" / "vae"
    folder.mkdir(exist_ok=True)
    tiny_decoders.save_kl(folder / "SD15.safetensors", 4)
    with torch.inference_mode():
        vae = comfyui.nodes.VAELoader().load_vae("SD15.safetensors")[0]
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    return model, {"guider": guider, "target": target, "vae": vae}


@pytest.fixture
def split(comfyui, monkeypatch):
    """MODEL -> MODEL: the host's own node, on two devices."""
    multigpu = pytest.importorskip("comfy_extras.nodes_multigpu", reason="an older host")
    import comfy.model_management

    def devices(exclude_current=False):
        return [comfy.model_management.get_torch_device(), SECOND]

    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", devices)

    def apply(model):
        loaded = comfy.model_management.current_loaded_models
        loaded[:] = [
            one for one in loaded if one.model is not None
        ]  # the host's node fails on those
        return multigpu.MultiGPUCFGSplitNode.execute(model, 2).args[0]

    return apply


def sampled(model):
    import comfy.sample

    latent = tiny_checkpoints.empty_latent(model, 2)
    noise, cond = comfy.sample.prepare_noise(latent, 5), tiny_checkpoints.conditioning("SD15")
    other = [[2 * values, more] for values, more in cond]
    with torch.inference_mode():
        return comfy.sample.sample(
            *(model, noise, 2, 7.0, "euler", "simple", cond, other, latent),
            disable_pbar=True,
            seed=5,
        )


def guided_by(call, world, jacobian, view):
    """MODEL -> MODEL."""
    reading = {"view": view, "guider_input": "x0_hat", "jacobian": jacobian}
    return lambda model: call("PPAP_ApplyGuidance", model=model, **world[1], **reading)[0]


@pytest.mark.parametrize(
    ("jacobian", "view"),
    [("none", "vae"), slow("jvp", "linear_rgb"), ("backprop", "linear_rgb")],
)
def test_the_same_picture_as_on_one_device(call, world, split, jacobian, view, monkeypatch):
    import comfy.samplers

    model, guide = world[0], guided_by(call, world, jacobian, view)
    batches, run = [], comfy.samplers._calc_cond_batch_multigpu

    def watch(*args, **kwargs):
        batches.append(1)
        return run(*args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "_calc_cond_batch_multigpu", watch)

    expected = sampled(guide(model))
    assert not batches and (sampled(model) - expected).abs().max() > 1e-3
    for guided in (guide(split(model)), split(guide(model))):
        torch.testing.assert_close(sampled(guided), expected, rtol=1e-4, atol=1e-3)
        assert batches
        batches.clear()


def test_a_pixel_model_can_be_split(demo_model, split):
    divided = split(demo_model[0])
    (other,) = divided.get_additional_models_with_key("multigpu")
    assert other.load_device == SECOND and other.model is not divided.model
    weights = (m.model.diffusion_model.state_dict() for m in (divided, other))
    for (name, ours), theirs in zip(next(weights).items(), next(weights).values(), strict=True):
        assert torch.equal(ours.cpu(), theirs.cpu()), name
