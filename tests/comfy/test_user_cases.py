"""What people do around a KSampler, guided: each case with ComfyUI's own nodes and tiny models."""

import functools
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from host import tiny_checkpoints
from tests.comfy import tiny_models

SIDE = 16


@pytest.fixture(scope="module")
def load(comfyui):
    return functools.cache(lambda name: tiny_models.load(comfyui, name))


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


@pytest.fixture
def guide(comfyui, call, guider):
    def apply(model, **settings):
        target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
        settings = {"strength": 3.0, "guider_input": "x_t"} | settings
        return call("PPAP_ApplyGuidance", model=model, guider=guider, target=target, **settings)[0]

    return apply


def prompt(name="SD15"):
    return tiny_checkpoints.conditioning(name)


def latent(model, height=SIDE, width=SIDE, batch=1):
    channels = model.get_model_object("latent_format").latent_channels
    generator = torch.Generator().manual_seed(3)
    return {"samples": torch.randn(batch, channels, height, width, generator=generator)}


@pytest.fixture
def sample(call):
    """KSampler, two steps."""

    def run(model, latent_image=None, **changes):
        settings = {
            **{"seed": 0, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"},
            **{"positive": prompt(), "negative": prompt()},
        } | changes
        latent_image = latent_image or latent(model)
        return call("KSampler", model=model, latent_image=latent_image, **settings)[0]["samples"]

    return run


@pytest.fixture
def assert_guided(guide, sample):
    """Guidance changes the picture of `model`, by numbers, wherever it is installed."""

    def check(model, guided=None, **settings):
        plain = sample(model, **settings)
        picture = sample(guided or guide(model), **settings)
        assert plain.isfinite().all() and picture.isfinite().all()
        assert (picture - plain).abs().max() > 1e-3 * plain.abs().max()
        return plain, picture

    return check


def test_img2img_can_be_guided(load, assert_guided):
    assert_guided(load("SD15"), denoise=0.5)


def test_inpainting_leaves_the_rest_as_it_was(load, call, assert_guided):
    model = load("SD15")
    mask = torch.zeros(1, SIDE * 8, SIDE * 8)
    mask[:, :, : SIDE * 4] = 1.0
    start = latent(model)
    masked = call("SetLatentNoiseMask", samples=start, mask=mask)[0]
    _, picture = assert_guided(model, latent_image=masked, denoise=0.7)
    torch.testing.assert_close(picture[..., SIDE // 2 :], start["samples"][..., SIDE // 2 :])


@pytest.mark.parametrize(("height", "width"), [(24, 10), (9, 13), (5, 40)])
def test_pictures_of_any_size_can_be_guided(load, assert_guided, height, width):
    model = load("SD15")
    _, picture = assert_guided(model, latent_image=latent(model, height, width))
    assert picture.shape[-2:] == (height, width)


def test_area_conditioning_can_be_guided(load, call, assert_guided):
    other = [[torch.ones(1, 8, 768), {}]]
    area = call(
        "ConditioningSetArea", conditioning=other, width=64, height=128, x=0, y=0, strength=1.0
    )
    both = call("ConditioningCombine", conditioning_1=prompt(), conditioning_2=area[0])[0]
    assert_guided(load("SD15"), positive=both)


def test_masked_and_scheduled_prompts_can_be_guided(load, call, assert_guided):
    mask = torch.ones(1, 128, 128)
    masked = call(
        "ConditioningSetMask",
        conditioning=[[torch.ones(1, 8, 768), {}]],
        mask=mask,
        strength=1.0,
        set_cond_area="default",
    )[0]
    early = call("ConditioningSetTimestepRange", conditioning=masked, start=0.0, end=0.5)[0]
    both = call("ConditioningCombine", conditioning_1=prompt(), conditioning_2=early)[0]
    assert_guided(load("SD15"), positive=both)


def test_model_with_controlnet_can_be_guided(load, call, assert_guided):
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.model_management
    import comfy.ops

    unet = tiny_checkpoints.FAMILIES["SD15"].unet
    known = ("use_checkpoint", "image_size", "use_spatial_transformer", "legacy", "in_channels")
    known += ("model_channels", "channel_mult", "num_res_blocks", "transformer_depth")
    known += ("context_dim", "transformer_depth_middle", "use_linear_in_transformer")
    network = comfy.cldm.cldm.ControlNet(
        **{key: unet[key] for key in known if key in unet},
        hint_channels=3,
        num_heads=8,
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
    tiny_checkpoints.randomise(network, seed=2)
    control = comfy.controlnet.ControlNet(
        network, load_device=comfy.model_management.get_torch_device()
    )
    hint = torch.rand(1, SIDE * 8, SIDE * 8, 3)
    positive, negative = call(
        "ControlNetApplyAdvanced",
        positive=prompt(),
        negative=prompt(),
        control_net=control,
        image=hint,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )[:2]
    plain, _ = assert_guided(load("SD15"), positive=positive, negative=negative)
    assert plain.std() > 0


@pytest.fixture
def lora(comfyui):
    """A LoRA for the tiny SD1.5's first convolution, as files name it."""
    path = comfyui.base / "models" / "loras" / "tiny.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    key = "lora_unet_input_blocks_0_0"
    factors = {
        "lora_up.weight": torch.randn(320, 2, 1, 1, generator=generator) * 0.1,
        "lora_down.weight": torch.randn(2, 4, 3, 3, generator=generator) * 0.1,
        "alpha": torch.tensor(2.0),
    }
    save_file({f"{key}.{name}": value for name, value in factors.items()}, path)
    return path.name


@pytest.mark.parametrize("guided_first", [True, False])
def test_model_with_lora_can_be_guided(
    load, call, guide, sample, assert_guided, lora, guided_first
):
    def with_lora(model):
        return call("LoraLoaderModelOnly", model=model, lora_name=lora, strength_model=1.0)[0]

    model = load("SD15")
    guided = with_lora(guide(model)) if guided_first else guide(with_lora(model))
    plain, _ = assert_guided(with_lora(model), guided)
    assert not torch.equal(plain, sample(model))


@pytest.mark.parametrize("seen", ["x_t", "x0_hat, jvp", "x0_hat, backprop"])
def test_model_with_offloaded_weights_can_be_guided(
    load, call, guide, sample, lora, monkeypatch, seen
):
    """What --novram does, of itself only on a GPU: each layer fetches its weights, and their LoRA,
    when it is called. The guider, which cannot, is loaded whole.
    """
    import comfy.model_management as management

    model = load("SD15").clone()
    model = call("LoraLoaderModelOnly", model=model, lora_name=lora, strength_model=1.0)[0]
    seen, _, jacobian = seen.partition(", ")
    guided = guide(model, guider_input=seen, jacobian=jacobian or "none")
    expected = sample(guided)
    management.unload_all_models()
    with monkeypatch.context() as patched:
        patched.setattr(management, "is_device_cpu", lambda device: False)
        patched.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
        streamed = sample(guided)
        assert model.model.model_lowvram
        management.unload_all_models()
    assert not model.model.model_lowvram
    torch.testing.assert_close(streamed, expected)


def test_prompt_with_a_lora_hook_can_be_guided(load, call, assert_guided, lora, sample):
    """Weights that change with the conditioning, within a run."""
    hooks = call("CreateHookLora", lora_name=lora, strength_model=1.0, strength_clip=0.0)[0]
    words = call(
        "ConditioningSetProperties",
        **{"cond_NEW": prompt(), "strength": 1.0, "set_cond_area": "default", "hooks": hooks},
    )[0]
    plain, _ = assert_guided(load("SD15"), positive=words)
    assert not torch.equal(plain, sample(load("SD15")))


@pytest.mark.slow
@pytest.mark.parametrize("guided_first", [True, False])
def test_compiled_model_can_be_guided(load, guide, assert_guided, guided_first):
    """As TorchCompileModel compiles, but by dynamo alone: inductor needs a C++ compiler."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    def compiled(model):
        model = model.clone()
        set_torch_compile_wrapper(model=model, backend="eager")
        return model

    model = load("SD15")
    guided = compiled(guide(model)) if guided_first else guide(compiled(model))
    assert_guided(compiled(model), guided)


PATCHES = {
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "RescaleCFG": {"multiplier": 0.7},
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "HyperTile": {"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    "TomePatchModel": {"ratio": 0.3},
    "TCFG": {},
    "CFGZeroStar": {},
    "ModelSamplingDiscrete": {"sampling": "v_prediction", "zsnr": True},
    "Mahiro": {},
}


@pytest.mark.parametrize("guided_first", [True, False])
@pytest.mark.parametrize("name", PATCHES)
def test_other_model_patches_work_before_and_after_guidance(
    comfyui, load, call, guide, sample, assert_guided, name, guided_first
):
    def patched(model):
        return call(name, model=model, **PATCHES[name])[0]

    model = load("SD15")
    guided = patched(guide(model)) if guided_first else guide(patched(model))
    assert_guided(patched(model), guided)


@pytest.mark.parametrize("guided_first", [True, False])
def test_self_attention_guidance_can_be_combined(
    call, guide, assert_guided, monkeypatch, guided_first
):
    """It looks into the middle block, which the other tiny models lack."""
    own = tiny_checkpoints.FAMILIES["SD15"]
    whole = replace(own, unet=own.unet | {"transformer_depth_middle": 1}, stored="")
    monkeypatch.setitem(tiny_checkpoints.FAMILIES, "whole", whole)
    model = tiny_checkpoints.build("whole")

    def patched(model):
        return call("SelfAttentionGuidance", model=model, scale=0.5, blur_sigma=2.0)[0]

    guided = patched(guide(model)) if guided_first else guide(patched(model))
    assert_guided(patched(model), guided)


@pytest.mark.parametrize("guided_first", [True, False])
@pytest.mark.parametrize(
    ("family", "name", "settings"),
    [
        ("SD3", "ModelSamplingSD3", {"shift": 5.0}),
        ("SD3", "SkipLayerGuidanceSD3", {"layers": "0", "scale": 3.0}),
        ("Flux", "ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5}),
        ("Wan21", "ModelSamplingSD3", {"shift": 5.0}),
    ],
)
def test_flow_models_with_shift_and_skip_nodes_can_be_guided(
    load, call, guide, assert_guided, family, name, settings, guided_first
):
    if name == "ModelSamplingFlux":
        settings = settings | {"width": SIDE * 8, "height": SIDE * 8}
    if name == "SkipLayerGuidanceSD3":
        settings = settings | {"start_percent": 0.0, "end_percent": 1.0}

    def patched(model):
        return call(name, model=model, **settings)[0]

    model = load(family)
    guided = patched(guide(model)) if guided_first else guide(patched(model))
    empty = {"samples": tiny_checkpoints.empty_latent(model)}
    words = {"positive": prompt(family), "negative": prompt(family)}
    assert_guided(patched(model), guided, latent_image=empty, **words)


@pytest.mark.parametrize("guided_first", [True, False])
def test_merged_models_can_be_guided(load, call, guide, assert_guided, guided_first):
    model = load("SD15")
    other = tiny_checkpoints.build("SD15")

    def merged(model):
        return call("ModelMergeSimple", model1=model, model2=other, ratio=0.5)[0]

    guided = merged(guide(model)) if guided_first else guide(merged(model))
    assert_guided(merged(model), guided)


def basic(call, model):
    return call("BasicGuider", model=model, conditioning=prompt())[0]


def cfg(call, model):
    return call("CFGGuider", model=model, positive=prompt(), negative=prompt(), cfg=3.0)[0]


def dual_cfg(call, model):
    return call(
        "DualCFGGuider",
        **{"model": model, "cond1": prompt(), "cond2": prompt(), "negative": prompt()},
        **{"cfg_conds": 3.0, "cfg_cond2_negative": 2.0, "style": "regular"},
    )[0]


def perp_neg(call, model):
    # Of two equal prompts none is perpendicular to the other.
    others = ([[torch.full((1, 8, 768), value), {}]] for value in (1.0, -0.5))
    return call(
        "PerpNegGuider",
        **dict(zip(("positive", "negative"), others, strict=True), model=model),
        **{"empty_conditioning": prompt(), "cfg": 3.0, "neg_scale": 1.0},
    )[0]


def dual_model(call, model):
    return call(
        "DualModelGuider",
        **{"model": model, "positive": prompt(), "negative": prompt(), "cfg": 3.0},
        model_negative=tiny_checkpoints.build("SD15"),
    )[0]


@pytest.mark.parametrize("build", [basic, cfg, dual_cfg, perp_neg, dual_model])
@pytest.mark.parametrize("seen", ["x_t", "x0_hat"])
def test_guider_nodes_of_sampler_custom_advanced_can_be_guided(load, call, guide, build, seen):
    model = load("SD15")
    sigmas = call("BasicScheduler", model=model, scheduler="simple", steps=2, denoise=1.0)[0]
    sampler = call("KSamplerSelect", sampler_name="euler")[0]
    noise = call("RandomNoise", noise_seed=0)[0]
    pictures = []
    for each in (model, guide(model, guider_input=seen)):
        out = call(
            "SamplerCustomAdvanced",
            **{"noise": noise, "guider": build(call, each), "sampler": sampler, "sigmas": sigmas},
            latent_image=latent(model),
        )[0]
        pictures.append(out["samples"])
    plain, picture = pictures
    assert picture.isfinite().all()
    assert (picture - plain).abs().max() > 1e-3 * plain.abs().max()
