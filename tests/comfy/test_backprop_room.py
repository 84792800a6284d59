"""What the jacobian backprop takes: told beforehand, and no copy of a weight."""

import functools

import pytest
import torch

from host import tiny_checkpoints
from host.tiny_checkpoints import save
from tests.comfy import tiny_models

BRIDGE = "ppap_core.comfy_bridge"


@pytest.fixture(scope="module")
def load(comfyui):
    return functools.cache(lambda name: tiny_models.load(comfyui, name))


def prepared(name, model):
    """(state, conds as a PREPARE_SAMPLING wrapper gets them)."""
    import comfy.sampler_helpers

    shape = tiny_checkpoints.empty_latent(model).shape
    state = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    cond = comfy.sampler_helpers.convert_cond(tiny_checkpoints.conditioning(name))
    return state, {"positive": cond}


def measured(comfyui, model, state, conds, network) -> int:
    """Bytes that an evaluation by ComfyUI and its backward pass take; weights do not count."""
    import comfy.samplers

    module = comfyui.module(f"{BRIDGE}.differentiable")
    tally = comfyui.module("ppap_core.peak_memory").Tally
    base = model.model
    base.current_patcher = model
    place = {"latent_image": state, "latent_shapes": [state.shape]}
    conds = {"positive": [dict(cond) for cond in conds["positive"]]}
    conds = comfy.samplers.process_conds(base, state, conds, torch.device("cpu"), **place)
    options = module.with_torch_attention(model.model_options)
    with module.differentiable(network):
        x = state.clone().requires_grad_(True)
        with tally([*base.parameters(), *base.buffers(), x]) as counted:
            inputs = [conds["positive"]], x, torch.ones(len(x)), options
            answer = comfy.samplers.calc_cond_batch(base, *inputs)[0]
            torch.autograd.grad(answer, x, torch.ones_like(answer))
    return counted.most


@pytest.mark.parametrize("name", ["SD15", "Flux", "LTXV"])
def test_what_backprop_takes_is_known_beforehand(comfyui, load, name):
    """Weights of loaded files are inference tensors, as in a server: copies of them would count."""
    model = load(name)
    state, conds = prepared(name, model)
    told = comfyui.module(f"{BRIDGE}.backprop_room").backprop_bytes(model, state.shape, conds)
    with torch.inference_mode():
        found = measured(comfyui, model, state, conds, model.model)
    assert told == pytest.approx(found, rel=0.15)


def test_weights_that_may_change_are_copied(comfyui, load):
    """So this measure can tell: SD15's weights are three times what else is kept."""
    model = load("SD15")
    state, conds = prepared("SD15", model)
    with torch.inference_mode():
        shared, copied = (
            measured(comfyui, model, state, conds, network) for network in (model.model, None)
        )
    weights = sum(p.numel() * 4 for p in model.model.diffusion_model.parameters())
    assert copied - shared > 0.7 * weights
    assert shared < 0.5 * weights


def test_weights_that_layers_cast_are_made_again_not_kept(comfyui, load):
    """Of half precision on a processor, which computes in float32."""
    import comfy.sd

    file = save("SD15", comfyui.base / "models")
    with torch.inference_mode():
        half = {"output_vae": False, "output_clip": False, "model_options": {"dtype": torch.half}}
        model = comfy.sd.load_checkpoint_guess_config(str(file), **half)[0]
    assert model.model.diffusion_model.out[2].weight.dtype == torch.half
    state, conds = prepared("SD15", model)
    told = comfyui.module(f"{BRIDGE}.backprop_room").backprop_bytes(model, state.shape, conds)
    with torch.inference_mode():
        found = measured(comfyui, model, state, conds, model.model)
        whole = measured(comfyui, load("SD15"), state, conds, load("SD15").model)
    assert told == pytest.approx(found, rel=0.15)
    assert found < 1.5 * whole  # of the casts at most that of one layer


def test_a_cast_that_was_changed_is_copied(comfyui):
    """A LoRA that is added to the cast, for instance: the gradient is that of what was computed."""
    import comfy.ops

    module = comfyui.module(f"{BRIDGE}.differentiable")
    with torch.inference_mode():
        layer = comfy.ops.manual_cast.Linear(4, 4, dtype=torch.half)
        layer.weight.copy_(torch.arange(16.0).view(4, 4))
    for change in (0.0, 2.0):
        x = torch.ones(1, 4, requires_grad=True)
        with module.differentiable(layer):
            weight = layer.weight.to(torch.float32)
            answer = torch.nn.functional.linear(x, weight.add_(change) if change else weight)
            found = torch.autograd.grad(answer.sum(), x)[0]
        expected = (torch.arange(16.0).view(4, 4) + change).sum(dim=0, keepdim=True)
        torch.testing.assert_close(found, expected)


def test_room_for_backprop_is_reserved_with_comfyui(comfyui, load, monkeypatch):
    """In whole rows of the latent, of which ComfyUI knows the memory: so asked before that."""
    import comfy.sample

    hook, asked = comfyui.module(f"{BRIDGE}.hook"), []
    with_room = hook.with_room

    def note(model, noise_shape, num_bytes):
        asked.append(num_bytes)
        return with_room(model, noise_shape, num_bytes)

    monkeypatch.setattr(hook, "with_room", note)
    model, guider = load("SD15"), tiny_models.tiny_guider(comfyui)
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    node, cond = comfyui.node("PPAP_ApplyGuidance"), tiny_checkpoints.conditioning("SD15")
    with torch.inference_mode():
        latent = tiny_checkpoints.empty_latent(model)
        noise = comfy.sample.prepare_noise(latent, 0)
        for jacobian in ("none", "backprop"):
            settings = {"guider_input": "x0_hat", "jacobian": jacobian, "strength": 1.0}
            guided = node.execute(model=model, guider=guider, target=target, **settings).args[0]
            place = guided, noise, 1, 1.0, "euler", "simple", cond, cond, latent
            comfy.sample.sample(*place, disable_pbar=True, seed=0)
    state, conds = prepared("SD15", model)
    told = comfyui.module(f"{BRIDGE}.backprop_room").backprop_bytes(model, state.shape, conds)
    assert asked[1] - asked[0] == told > 1e6


def test_a_model_that_looks_at_its_numbers_gets_an_estimate_all_the_same(
    comfyui, load, monkeypatch
):
    model = load("SD15")
    state, conds = prepared("SD15", model)
    monkeypatch.setattr(type(model.model), "extra_conds", lambda self, **kwargs: 1 / 0)
    room = comfyui.module(f"{BRIDGE}.backprop_room")
    monkeypatch.setattr(room, "_known", {})
    few, many = (room.backprop_bytes(model, (n, 4, 64, 64), conds) for n in (1, 3))
    assert many == 3 * few
    assert 2e9 < few < 6e9  # 4 GB were measured for SD1.5 at this size
