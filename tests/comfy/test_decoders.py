"""Decoders without a doubling, and plans for little memory, with ComfyUI's own decoders."""

import logging
from importlib.util import find_spec

import pytest
import torch
from torch.nn import functional as F

from host import tiny_checkpoints, tiny_decoders
from tests.comfy import tiny_models
from tests.slow import slow

BRIDGE = "ppap_core.comfy_bridge"
KINDS = ("taesd", "taef2", "kl", "wan", "taehv")


@pytest.fixture(scope="module")
def decoders(comfyui):
    return comfyui.module(f"{BRIDGE}.decoders")


@pytest.fixture(scope="module")
def plans(comfyui):
    return comfyui.module(f"{BRIDGE}.decode_plans")


@pytest.fixture(scope="module")
def decoder_of(comfyui, decoders, tmp_path_factory):
    """Name of a kind -> our decoder of that kind, of random weights."""
    import comfy.sd
    import comfy.utils

    folder, made, vaes = tmp_path_factory.mktemp("decoders"), {}, []

    def build(kind):
        if kind in ("taesd", "taef2"):
            channels = {"taesd": 4, "taef2": 128}[kind]
            path = tiny_decoders.save_taesd(folder, kind, channels)
            return decoders.load_tiny_decoder(path, 0, channels, False)
        path = folder / f"{kind}.safetensors"
        if kind == "taehv":
            tiny_decoders.save_taehv(path, torch.float32)
            return decoders.load_tiny_decoder(path, 0, 16, True)
        tiny_decoders.save_wan(path) if kind == "wan" else tiny_decoders.save_kl(path, 4)
        with torch.inference_mode(False):
            vaes.append(comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path))))  # else it is freed
            return decoders.own_decoder(vaes[-1])

    def get(kind):
        if kind not in made:
            made[kind] = build(kind)
        return made[kind]

    return get


def latent_of(decoder, side=8, batch=1):
    frames = (3,) if decoder.is_video else ()
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, decoder.channels, *frames, side, side, generator=generator)


def taesd_by_hand(module, latent):
    """All layers but the second of its three doublings."""
    layers = list(module.taesd_decoder)
    doublings = [i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Upsample)]
    assert len(doublings) == 3
    x = latent
    for i, layer in enumerate(layers):
        x = x if i == doublings[1] else layer(x)
    return x * 2 - 1


def kl_by_hand(module, latent):
    """ComfyUI's Decoder.forward for pictures; of the second doubling only the convolution."""
    decoder = module.decoder
    h = decoder.conv_in(
        module.post_quant_conv(latent) if hasattr(module, "post_quant_conv") else latent
    )
    h = decoder.mid.block_2(decoder.mid.attn_1(decoder.mid.block_1(h)))
    for level in (3, 2, 1, 0):
        for block in decoder.up[level].block:
            h = block(h)
        if level:
            h = h if level == 2 else F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = decoder.up[level].upsample.conv(h)
    return decoder.conv_out(F.silu(decoder.norm_out(h)))


@pytest.mark.parametrize(("kind", "by_hand"), [("taesd", taesd_by_hand), ("kl", kl_by_hand)])
def test_the_half_size_picture_is_that_of_the_same_layers_without_one_doubling(
    decoder_of, decoders, monkeypatch, kind, by_hand
):
    monkeypatch.setattr(decoders, "fast_dtype", lambda device, dtype: dtype)
    decoder = decoder_of(kind)
    pictures = []
    for decode in (lambda x: decoder(x, 1), lambda x: by_hand(decoder.module, x)):
        latent = latent_of(decoder).requires_grad_(True)
        image = decode(latent)
        pictures.append((image, torch.autograd.grad(image.square().sum(), latent)[0]))
    assert pictures[0][0].shape == (1, 3, 32, 32)
    torch.testing.assert_close(pictures[0], pictures[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [slow(k) if k == "wan" else k for k in KINDS])
def test_a_decoder_of_each_kind_draws_half_the_size_with_half_the_memory(decoder_of, kind):
    decoder = decoder_of(kind)
    latent = latent_of(decoder)
    whole, half = decoder(latent), decoder(latent, 1)
    assert decoder.most_left_out == 1
    assert whole.shape[-1] == 8 * decoder.scale
    assert half.shape == (*whole.shape[:-2], *(side // 2 for side in whole.shape[-2:]))
    assert torch.equal(decoder(latent), whole)  # no trace is left
    assert decoder.num_bytes(latent.shape, 1) < 0.5 * decoder.num_bytes(latent.shape)


@pytest.mark.parametrize("kind", ["taesd", slow("wan")])
@pytest.mark.parametrize("left_out", [0, 1])
def test_the_estimate_is_what_decoding_takes(comfyui, decoder_of, kind, left_out):
    decoder = decoder_of(kind)
    latent = latent_of(decoder, side=12).requires_grad_(True)
    module = decoder.module
    with comfyui.module("ppap_core.peak_memory").Tally(
        [*module.parameters(), *module.buffers(), latent]
    ) as tally:
        image = decoder(latent, left_out)
        torch.autograd.grad(image, latent, torch.ones_like(image))
    assert decoder.num_bytes(latent.shape, left_out) == pytest.approx(tally.most, rel=0.05)


def test_bfloat16_shows_nearly_the_same_picture(decoder_of, decoders, monkeypatch):
    pictures, decoder = [], decoder_of("taesd")
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(decoders, "fast_dtype", lambda device, _, d=dtype: d)
        with torch.no_grad():
            pictures.append(decoder(latent_of(decoder, side=4), 1))
    assert pictures[1].dtype == torch.float32
    assert not torch.equal(*pictures)
    assert F.cosine_similarity(*(p.flatten() for p in pictures), dim=0) > 0.99


class PixelShuffler(torch.nn.Module):
    """Enlarges in a way of its own."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 3 * 64, 1)

    def decode(self, latent):
        return F.pixel_shuffle(self.conv(latent), 8)


class NumberReader(PixelShuffler):
    """Cannot be tried out without numbers."""

    def decode(self, latent):
        return super().decode(latent) * (1 if latent.sum().item() > 1e9 else 1)


def decoder_of_module(decoders, module):
    with torch.inference_mode(False):
        return decoders._decoder(decoders.Decoding(module, False), lambda s: 1e6, 4, False)


@pytest.mark.parametrize("kind", [PixelShuffler, NumberReader])
def test_an_unknown_decoder_decodes_all_and_this_is_said_once(
    comfyui, decoders, plans, caplog, kind
):
    decoder = decoder_of_module(decoders, kind())
    assert decoder.most_left_out == 0
    guider = tiny_models.tiny_guider(comfyui).guider
    plans._say_that_it_is_unknown.cache_clear()
    with caplog.at_level(logging.INFO):
        found = [plans.plan_decode(decoder, guider, (1, 4, 64, 64)) for _ in range(3)]
    assert {(plan.left_out, plan.tiles) for plan in found} == {(0, 1)}
    assert caplog.text.count(f"layers of this decoder ({kind.__name__}) are not known") == 1
    assert decoder.num_bytes((1, 4, 64, 64)) > 0


@pytest.mark.parametrize(
    ("side", "reads", "expected"),
    [
        (64, 32, 1),  # 512 pixels
        (64, 256, 1),
        (64, 257, 0),  # more than the half-size picture shows
        (64, 518, 0),
        (128, 512, 1),
        (32, 32, 1),
        (28, 32, 0),  # 224: half of it is smaller than decoders draw well
        (8, 32, 0),
    ],
)
def test_a_doubling_is_left_out_if_the_guider_does_not_read_it(
    comfyui, plans, decoder_of, side, reads, expected
):
    guider = tiny_models.tiny_guider(comfyui).guider
    guider.preprocessing = comfyui.module("ppap_core.guiders").Preprocessing(
        (reads, reads), (0.5,) * 3, (0.5,) * 3
    )
    plan = plans.plan_decode(decoder_of("taesd"), guider, (1, 4, side, side))
    assert plan.left_out == expected
    assert bool(plan.reason) == bool(expected)
    assert plans.plan_decode(decoder_of("taesd"), None, (1, 4, side, side)).left_out == 0


def with_memory(monkeypatch, num_bytes):
    """A device of `num_bytes` for decoding, most of which others use."""
    import comfy.model_management as management

    monkeypatch.setattr(management, "get_total_memory", lambda device: num_bytes)
    monkeypatch.setattr(management, "get_free_memory", lambda device: 1000)


def test_with_less_memory_pictures_are_decoded_fewer_at_once_then_smaller_then_in_tiles(
    plans, decoder_of, monkeypatch
):
    decoder, shape = decoder_of("kl"), (4, 4, 40, 40)
    whole, half = (decoder.num_bytes((1, *shape[1:]), n) for n in (0, 1))
    weights = sum(p.numel() for p in decoder.module.parameters()) * 4

    def plan(room):
        with_memory(monkeypatch, (room + weights) / plans.SHARE)
        return plans.plan_decode(decoder, None, shape)

    assert plan(13 * whole)[:3] == (4, 0, 1)
    assert plan(7 * whole)[:3] == (2, 0, 1)
    assert plan(1.01 * whole)[:3] == (1, 0, 1)
    assert plan(7 * whole).reason == ""
    small = plan(0.99 * whole)
    assert small[:3] == (1, 1, 1) and small.num_bytes == half
    assert small.reason == (
        "the guider sees the picture decoded at half its size, 160 x 160: memory is short"
    )
    tiled = plan(0.9 * half)
    assert (tiled.at_once, tiled.left_out) == (1, 1) and tiled.tiles > 1
    assert "memory is short" in tiled.reason and "tiles" in tiled.reason
    for room in (13 * whole, 1.01 * whole, 0.9 * half):
        assert plan(room).num_bytes <= room
    with pytest.raises(ValueError, match="a latent of 40 x 40 is too large to be decoded.*choose"):
        plan(0.01 * half)
    with pytest.raises(ValueError, match="do not fit into the device.s memory together.*choose"):
        plan(-0.5 * weights)


@pytest.mark.parametrize("tiles", [1, 2])
def test_parts_show_the_picture_that_the_whole_shows(comfyui, decoder_of, tiles):
    """Picture by picture it is the same; tiles differ where their decoder looks further."""
    views, decoder = comfyui.module("ppap_core.views"), decoder_of("taesd")
    results = []
    for plan in (views.DecodePlan(2, 1), views.DecodePlan(1, 1, tiles)):
        latent = latent_of(decoder, side=40, batch=2).requires_grad_(True)
        image = views.DecoderView(decoder, lambda shape, p=plan: p)(latent)
        results.append((image, torch.autograd.grad(image.square().sum(), latent)[0]))
    if tiles == 1:
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
    for whole, parts in zip(*results, strict=True):
        assert F.cosine_similarity(whole.flatten(), parts.flatten(), dim=0) > 0.99


def test_the_plan_does_not_depend_on_what_is_free(plans, decoder_of, monkeypatch):
    import comfy.model_management as management

    found = []
    for free in (0, 1e12):
        monkeypatch.setattr(management, "get_free_memory", lambda device, f=free: f)
        found.append(plans.plan_decode(decoder_of("kl"), None, (2, 4, 16, 16)))
    assert found[0] == found[1]


@pytest.mark.skipif(find_spec("torch_mlu") is None, reason="only the emulated device counts memory")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left_out", [0, 1])
def test_the_estimate_is_what_a_device_counts(decoder_of, kind, left_out):
    import comfy.model_management as management

    decoder = decoder_of(kind)
    management.load_models_gpu([decoder.patcher])
    latent = latent_of(decoder, side=16).to(decoder.patcher.load_device).requires_grad_(True)
    assert latent.device.type == "mlu"
    torch.mlu.reset_peak_memory_stats()
    before = torch.mlu.max_memory_allocated()
    image = decoder(latent, left_out)
    torch.autograd.grad(image, latent, torch.ones_like(image))
    found = torch.mlu.max_memory_allocated() - before
    assert decoder.num_bytes(latent.shape, left_out) == pytest.approx(found, rel=0.25)


def test_a_guided_sampling_decodes_at_guided_steps_alone_and_reports_half_the_size(comfyui):
    import comfy.sample

    tiny_decoders.save_taesd(comfyui.base / "models" / "vae_approx", "taesd", 4)
    model, guider = tiny_models.load(comfyui, "SD15"), tiny_models.tiny_guider(comfyui)
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    hook, steps, decoded = comfyui.module(f"{BRIDGE}.hook"), 4, []
    with torch.inference_mode():
        settings = {"view": "taesd", "guider_input": "x0_hat", "jacobian": "none", "strength": 1.0}
        guided = (
            comfyui.node("PPAP_ApplyGuidance")
            .execute(model=model, guider=guider, target=target, end_percent=0.5, **settings)
            .args[0]
        )
        patchers = guided.get_additional_models_with_key("ppap")
        (decoder,) = (p.model for p in patchers if hasattr(p.model, "taesd_decoder"))
        handle = decoder.taesd_decoder.register_forward_hook(
            lambda module, latent, image: decoded.append(image)
        )
        latent = tiny_checkpoints.empty_latent(model, side=32)
        noise, cond = comfy.sample.prepare_noise(latent, 0), tiny_checkpoints.conditioning("SD15")
        place = guided, noise, steps, 1.0, "euler", "simple", cond, cond, latent
        comfy.sample.sample(*place, disable_pbar=True, seed=0)
    handle.remove()
    (outcome,) = hook.outcomes_of(guided)
    assert 0 < len(outcome.records) < steps
    real = [image.shape[-1] for image in decoded if type(image) is torch.Tensor]  # not tried out
    assert real == [128] * len(outcome.records)
    assert outcome.remark == (
        "the guider sees the picture decoded at half its size, 128 x 128: it reads no more"
    )
    text = comfyui.module("ppap_core.guidance_report").describe([outcome])
    assert outcome.remark in text
    assert outcome.num_bytes > 1e7
