"""Guided sampling of real model families, with tiny random weights, as a server runs it."""

import functools

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models
from tests.comfy.stand_in import StandIn
from tests.slow import slow

SLOW = {"SDXL"}
NAMES = [slow(name) if name in SLOW else name for name in tiny_checkpoints.FAMILIES]
WITHOUT_FILE = [name for name, f in tiny_checkpoints.FAMILIES.items() if not f.stored]
IN_X0 = {"guider_input": "x0_hat"}


@pytest.fixture(scope="module")
def load(comfyui):
    """Name of a family -> its MODEL, the same for all tests."""
    return functools.cache(lambda name: tiny_models.load(comfyui, name))


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


def guide(comfyui, model, guider, scale=3.0, **settings):
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    settings = {"guider_input": "x_t", "strength": scale} | settings
    node = comfyui.node("PPAP_ApplyGuidance")
    with torch.inference_mode():
        return node.execute(model=model, guider=guider, target=target, **settings).args[0]


def sample(model, name, frames=1, steps=2, cfg=1.0):
    import comfy.sample

    with torch.inference_mode():
        latent = tiny_checkpoints.empty_latent(model, frames)
        noise = comfy.sample.prepare_noise(latent, 0)
        cond = tiny_checkpoints.conditioning(name)
        return comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            "euler",
            "simple",
            cond,
            cond,
            latent,
            disable_pbar=True,
            seed=0,
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_guided_through_either_input(comfyui, load, guider, name):
    model = load(name)
    plain = sample(model, name)
    assert torch.equal(sample(guide(comfyui, model, guider, scale=0.0), name), plain)
    pictures = [sample(guide(comfyui, model, guider, **s), name) for s in ({}, IN_X0)]
    for picture in pictures:
        assert picture.isfinite().all()
        assert (picture - plain).abs().max() > 1e-3 * plain.abs().max()
    assert not torch.equal(*pictures)


class Probe(StandIn):
    """Guides by nothing; compares J^T g by autograd with J by central difference.

    <J^T g, d> = <g, J d> for the direction d of J^T g.
    """

    def __init__(self, comfyui, guider):
        super().__init__(comfyui, guider.guider)
        self.backpropagation = comfyui.module("ppap_core.jacobian").backpropagation
        self.ratios = []

    def gradient(self, x_vp, sigma_ve, denoised, denoise):
        g = torch.randn(x_vp.shape, generator=torch.Generator().manual_seed(1)).to(x_vp)
        exact = self.backpropagation(g, x_vp, sigma_ve, denoised, denoise)
        step = 1e-2 * exact / exact.norm()
        change = (denoise(x_vp + step) - denoise(x_vp - step)) / 2e-2
        self.ratios.append(((g * change).sum() / exact.norm()).item())
        return torch.zeros_like(x_vp)


@pytest.mark.parametrize("name", NAMES)
def test_autograd_through_the_hosts_model_agrees_with_finite_differences(
    comfyui, load, guider, name
):
    """Its weights and conditionings are inference tensors, as in a server."""
    probe, model = Probe(comfyui, guider), load(name)
    install = comfyui.module("ppap_core.comfy_bridge.hook").install_guidance
    sample(install(model, probe, guider.patcher), name)
    assert any(p.is_inference() for p in model.model.parameters()) or name in WITHOUT_FILE
    assert probe.ratios == pytest.approx([1.0, 1.0], rel=1e-2)


def test_attention_without_backward_pass_is_replaced_for_autograd(comfyui, load, guider):
    """SageAttention's answers lack the graph; so do this one's."""
    probe, model = Probe(comfyui, guider), load("SD15").clone()
    calls = []

    def without_graph(attention, *args, **kwargs):
        calls.append(1)
        return attention(*args, **kwargs).detach()

    model.model_options["transformer_options"]["optimized_attention_override"] = without_graph
    install = comfyui.module("ppap_core.comfy_bridge.hook").install_guidance
    sample(install(model, probe, guider.patcher), "SD15")
    assert calls
    assert probe.ratios == pytest.approx([1.0, 1.0], rel=1e-2)


def detached(q, k, v, heads, **_):
    from comfy.ldm.modules.attention import attention_pytorch

    return attention_pytorch(q, k, v, heads).detach()


def quantised(q, k, v, heads, **_):
    """Only what is added after a kernel of integers carries a gradient, which is wrong."""
    return detached(q, k, v, heads) + 0 * q


def without_backward(q, k, v, heads, **_):
    if q.requires_grad:
        raise NotImplementedError("this kernel has no backward pass")
    return detached(q, k, v, heads)


@pytest.mark.parametrize("attention", [detached, quantised])
@pytest.mark.parametrize("jacobian", ["jvp", "backprop"])
def test_attention_without_backward_pass_and_backprop_logs_a_warning(
    comfyui, load, guider, monkeypatch, caplog, jacobian, attention
):
    """SageAttention, --use-ck-attention and whatever comes: told by what it does."""
    import comfy.ldm.modules.attention

    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", attention)
    model = guide(comfyui, load("SD15"), guider, guider_input="x0_hat", jacobian=jacobian)
    sample(model, "SD15", steps=1)
    assert ("has no backward pass" in caplog.text) == (jacobian == "backprop")


@pytest.mark.parametrize("attention", [detached, quantised, without_backward, None])
def test_attention_is_told_by_its_backward_pass(comfyui, load, monkeypatch, attention):
    import comfy.ldm.modules.attention

    if attention:
        monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", attention)
    module = comfyui.module("ppap_core.comfy_bridge.differentiable")
    with torch.inference_mode():
        assert module.attention_has_backward_pass(load("SD15")) == (attention is None)


def test_jacobians_cost_the_expected_number_of_model_passes(comfyui, load, guider):
    """With CFG: none costs no evaluation of the model, jvp and backprop one of the prompt's."""
    model, rows = load("SD15"), []
    network = model.model.diffusion_model  # what counts on the MODEL would not see ours
    handle = network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    costs, pictures = {}, []
    for jacobian in ("none", "jvp", "backprop"):
        rows.clear()
        guided = guide(comfyui, model, guider, jacobian=jacobian, **IN_X0)
        pictures.append(sample(guided, "SD15", cfg=4.0))
        costs[jacobian] = list(rows)
    handle.remove()
    assert costs == {"none": [2, 2], "jvp": [2, 1, 2, 1], "backprop": [2, 1, 2, 1]}
    assert all(picture.isfinite().all() for picture in pictures)
    assert not torch.equal(pictures[1], pictures[2])


def test_experts_of_another_latent_format_are_refused(comfyui, load, guider):
    import dataclasses

    module = comfyui.module("ppap_core.expert_file")
    header = experts_header(comfyui, guider, latent_format="SDXL")
    loaded = dataclasses.replace(guider, expert_set=module.ExpertSet(header, None))
    with pytest.raises(ValueError, match="of the kind SDXL, but this model's are of the kind SD15"):
        guide(comfyui, load("SD15"), loaded)


def experts_header(comfyui, guider, **settings):
    module, noise = comfyui.module("ppap_core.expert_header"), comfyui.module("ppap_core.noise")
    defaults = {"input": "x0_hat", "view": "linear_rgb", "latent_format": "SD15"}
    return module.ExpertHeader.for_guider(
        guider.guider,
        checkpoint="tiny",
        noise_ranges=(noise.NoiseRange(0.01, 100.0),),
        lora=module.LoraSpec(1, 1.0, (), ()),
        **defaults | settings,
    )


def test_auto_uses_view_and_input_of_the_expert_file(comfyui, load, guider):
    """A file for x0_hat and linear_rgb guides as those settings do, and settings override it."""
    import dataclasses

    module = comfyui.module("ppap_core.expert_file")
    expert_set = module.ExpertSet(experts_header(comfyui, guider), None)
    told = dataclasses.replace(guider, expert_set=expert_set)
    model = load("SD15")

    def picture(guider, **settings):
        return sample(guide(comfyui, model, guider, **settings), "SD15")

    by_file = picture(told, guider_input="auto")
    assert torch.equal(by_file, picture(guider, view="linear_rgb", **IN_X0))
    on_noise = picture(told, guider_input="x_t")
    assert torch.equal(on_noise, picture(guider, view="linear_rgb", guider_input="x_t"))
    assert not torch.equal(by_file, on_noise)


def test_step_with_a_non_finite_gradient_is_unguided_and_logged(comfyui, load, guider, caplog):
    model, calls = load("SD15"), []

    def spoil_the_first_call(module, args, output):
        calls.append(1)
        return output * float("nan") if len(calls) == 1 else output

    handle = guider.guider.register_forward_hook(spoil_the_first_call)
    picture = sample(guide(comfyui, model, guider), "SD15", steps=3)
    handle.remove()
    late = guide(comfyui, model, guider, start_percent=0.3)  # the second of three steps is at 1/3
    assert torch.equal(picture, sample(late, "SD15", steps=3))
    assert caplog.text.count("not finite at 1 of 3 guided steps") == 1


@pytest.mark.parametrize("name", ["Wan21", "HunyuanVideo"])
def test_every_frame_of_a_video_is_guided(comfyui, load, guider, name):
    model = load(name)
    plain = sample(model, name, frames=3, steps=1)
    change = sample(guide(comfyui, model, guider), name, frames=3, steps=1) - plain
    assert change.isfinite().all()
    assert (change.abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()


@pytest.mark.parametrize("name", ["Wan21", "HunyuanVideo"])
def test_chosen_frames_of_a_video_are_guided_and_no_others(comfyui, load, guider, name):
    """At the last step: there the model spreads nothing."""
    model = load(name)
    options = comfyui.node("PPAP_GuidanceOptions").execute(
        **{"conflict": "sum", "max_norm": 0.0, "every": 1, "momentum": 0.0, "second_moment": 0.0},
        frames="０； -1",
    )
    plain = sample(model, name, frames=3, steps=1)
    guided = guide(comfyui, model, guider, options=options.args[0])
    change = (sample(guided, name, frames=3, steps=1) - plain).abs().amax(dim=(0, 1, 3, 4))
    assert change[0] > 1e-4 and change[2] > 1e-4 and change[1] == 0


def test_missing_frame_number_is_refused(comfyui, load, guider):
    (options,) = comfyui.node("PPAP_GuidanceOptions").execute("sum", frames="5").args
    guided = guide(comfyui, load("Wan21"), guider, options=options)
    with pytest.raises(ValueError, match="frame 5 is to be guided, the latent has frames 0 to 2"):
        sample(guided, "Wan21", frames=3)
