"""Pictures with sound, which ComfyUI packs into one row: the video is guided as without sound."""

import pytest
import torch
from torch import nn

from host import tiny_checkpoints
from tests.comfy import tiny_models

VIDEO, SOUND = (1, 128, 3, 4, 4), (1, 8, 9, 16)
SETTINGS = [("x_t", "none"), ("x0_hat", "none"), ("x0_hat", "jvp"), ("x0_hat", "backprop")]


class Net(nn.Module):
    """A video network; sound, where there is some, passes through by itself."""

    def __init__(self, dtype=None, device=None, operations=None, **_):
        super().__init__()
        self.dtype = dtype
        self.layer = operations.Conv3d(128, 128, 1, dtype=dtype, device=device)

    def forward(self, x, timesteps, context=None, control=None, transformer_options=None, **_):
        video, *sound = x if isinstance(x, list) else [x]
        video = torch.tanh(self.layer(video)) + 0.3 * video
        return [video, *(0.5 * each for each in sound)] if sound else video


@pytest.fixture(scope="module")
def model(comfyui):
    import comfy.conds
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_config, unet_extra_config = {}, {}
        latent_format = comfy.latent_formats.LTXAV
        sampling_settings = {"shift": 2.0}
        memory_usage_factor = 0.1

        def inpaint_model(self):
            return False

    class Base(comfy.model_base.BaseModel):
        def extra_conds(self, **kwargs):
            shapes = comfy.conds.CONDConstant(kwargs["latent_shapes"])
            return super().extra_conds(**kwargs) | {"latent_shapes": shapes}

    config = Config({})
    config.set_inference_dtype(torch.float32, None)
    flow = comfy.model_base.ModelType.FLOW
    base = Base(config, model_type=flow, device="cpu", unet_model=Net)
    tiny_checkpoints.randomise(base.diffusion_model)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(base, device, torch.device("cpu"))


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


def guide(comfyui, model, guider, seen="x_t", jacobian="none", **changes):
    settings = {"strength": 3.0, "guider_input": seen, "jacobian": jacobian} | changes
    of_class = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    with torch.inference_mode():
        node = comfyui.node("PPAP_ApplyGuidance")
        return node.execute(model=model, guider=guider, target=of_class, **settings).args[0]


def latent(with_sound):
    from comfy.nested_tensor import NestedTensor

    generator = torch.Generator().manual_seed(0)
    noises = [torch.randn(shape, generator=generator) for shape in (VIDEO, SOUND)]
    zeros = [torch.zeros(shape) for shape in (VIDEO, SOUND)]
    return [NestedTensor(t) if with_sound else t[0] for t in (zeros, noises)]


def sample(model, with_sound, steps=3):
    """The video, and the sound if there is some."""
    import comfy.sample

    empty, noise = latent(with_sound)
    words = [[torch.zeros(1, 1, 8), {}]]
    place = model, noise, steps, 1.0, "euler", "simple", words, words, empty
    with torch.inference_mode():
        samples = comfy.sample.sample(*place, disable_pbar=True, seed=0)
    return samples.unbind() if with_sound else [samples]


@pytest.mark.parametrize(("seen", "jacobian"), SETTINGS)
def test_a_video_with_sound_is_guided_as_without(comfyui, model, guider, seen, jacobian):
    guided = guide(comfyui, model, guider, seen, jacobian)
    (silent,) = sample(guided, with_sound=False)
    video, sound = sample(guided, with_sound=True)
    plain, plain_sound = sample(model, with_sound=True)
    assert video.isfinite().all()
    assert (video - plain).abs().max() > 1e-3 * plain.abs().max()
    torch.testing.assert_close(video, silent)
    torch.testing.assert_close(sound, plain_sound)


def test_chosen_frames_of_a_video_with_sound(comfyui, model, guider):
    (options,) = comfyui.node("PPAP_GuidanceOptions").execute("sum", frames="1").args
    guided = guide(comfyui, model, guider, options=options)
    change = sample(guided, True, steps=1)[0] - sample(model, True, steps=1)[0]
    moved = change.abs().amax(dim=(0, 1, 3, 4))
    assert moved[1] > 1e-4 and moved[0] == moved[2] == 0


def test_the_report_knows_a_latent_with_sound(comfyui, model, guider):
    from comfy.nested_tensor import NestedTensor

    hook = comfyui.module("ppap_core.comfy_bridge.hook")
    guided = guide(comfyui, model, guider)
    made = sample(guided, with_sound=True)
    sample(guided, with_sound=True, steps=2)
    (outcome,) = hook.outcomes_for(guided, {"samples": NestedTensor(list(made))})
    assert len(outcome.records) == 3


def test_a_host_that_does_not_tell_the_streams_is_refused(comfyui, model, guider):
    guided = guide(comfyui, model, guider)

    def older_host(executor, *args, latent_shapes=None, **kwargs):
        return executor(*args, **kwargs)

    guided.wrappers["outer_sample"] = {
        "older host": [older_host],
        **guided.wrappers["outer_sample"],
    }
    guided.model_options["transformer_options"]["wrappers"] = guided.wrappers
    with pytest.raises(ValueError, match="packed or audio"):
        sample(guided, with_sound=True)
