"""The U-Net against guided-diffusion's published layout and plain formulas."""

import math
from dataclasses import asdict

import pytest
import torch
from torch.nn import functional as F

from ppap_core.pixel_unet import PixelUNet, PixelUNetConfig
from ppap_core.pixel_unet_layers import (
    AttentionBlock,
    Layers,
    ResBlock,
    double,
    halve,
    timestep_embedding,
)

ADM_256 = PixelUNetConfig(
    image_size=256,
    model_channels=256,
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_levels=(3, 4, 5),  # resolutions 32, 16, 8
    num_head_channels=64,
    prediction="eps",
)
SMALL = {
    **{"image_size": 16, "model_channels": 16, "channel_mult": [1, 2], "num_res_blocks": 1},
    **{"attention_levels": [1], "num_head_channels": 8},
}


@pytest.fixture(scope="module")
def adm_256():
    """Dhariwal & Nichol's unconditional model for 256 x 256, without memory behind it."""
    return PixelUNet(ADM_256, device="meta").state_dict()


def test_adm_has_its_published_number_of_parameters(adm_256):
    """256x256_diffusion_uncond.pt: 552,814,086, of which 3 outputs are for learned variances."""
    learned_variances = 3 * (256 * 3 * 3 + 1)
    assert sum(value.numel() for value in adm_256.values()) == 552_814_086 - learned_variances


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("time_embed.0.weight", (1024, 256)),
        ("time_embed.2.bias", (1024,)),
        ("input_blocks.0.0.weight", (256, 3, 3, 3)),
        ("input_blocks.1.0.in_layers.0.weight", (256,)),
        ("input_blocks.1.0.in_layers.2.weight", (256, 256, 3, 3)),
        ("input_blocks.1.0.emb_layers.1.weight", (512, 1024)),
        ("input_blocks.3.0.out_layers.3.weight", (256, 256, 3, 3)),
        ("input_blocks.7.0.skip_connection.weight", (512, 256, 1, 1)),
        ("input_blocks.10.1.qkv.weight", (1536, 512, 1)),
        ("input_blocks.17.1.proj_out.bias", (1024,)),
        ("middle_block.1.norm.weight", (1024,)),
        ("middle_block.1.qkv.weight", (3072, 1024, 1)),
        ("middle_block.2.out_layers.0.bias", (1024,)),
        ("output_blocks.0.0.in_layers.0.weight", (2048,)),
        ("output_blocks.2.2.in_layers.2.weight", (1024, 1024, 3, 3)),
        ("output_blocks.11.1.in_layers.2.weight", (512, 512, 3, 3)),
        ("output_blocks.17.0.in_layers.2.weight", (256, 512, 3, 3)),
        ("out.0.weight", (256,)),
        ("out.2.weight", (3, 256, 3, 3)),
    ],
)
def test_parameters_are_named_as_in_guided_diffusion(adm_256, name, shape):
    assert adm_256[name].shape == shape


def test_timestep_embedding_follows_its_formula():
    timesteps, dim = [0.0, 1.0, 17.5, 999.0], 8
    expected = [
        [f(t * 10_000 ** (-i / 4)) for f in (math.cos, math.sin) for i in range(4)]
        for t in timesteps
    ]
    got = timestep_embedding(torch.tensor(timesteps), dim)
    torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_attention_is_softmax_over_positions_with_q_k_v_side_by_side_in_each_head():
    """guided-diffusion's "legacy" order, head by head and position by position."""
    torch.manual_seed(0)
    block = AttentionBlock(Layers(), 16, 4)
    x = torch.randn(2, 16, 3, 5)
    qkv = block.qkv(block.norm(x.flatten(2)))
    out = torch.zeros(2, 16, 15)
    for head in range(4):
        q, k, v = (qkv[:, head * 12 + part * 4 : head * 12 + part * 4 + 4] for part in range(3))
        for position in range(15):
            weights = ((q[:, :, position, None] * k).sum(1) / 2).exp()  # sqrt(4 channels)
            weights = weights / weights.sum(1, keepdim=True)
            out[:, head * 4 : head * 4 + 4, position] = (v * weights[:, None]).sum(2)
    expected = x + block.proj_out(out).reshape(x.shape)
    torch.testing.assert_close(block(x, None), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("resample", [torch.nn.Identity(), halve, double])
def test_res_block_scales_and_shifts_after_the_norm(resample):
    """Dhariwal & Nichol, 2021, section 3.1 (AdaGN), and BigGAN's resampling inside the block."""
    torch.manual_seed(0)
    block = ResBlock(Layers(), 8, 12, 6, resample)
    x, emb = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
    w = block.state_dict()
    h = F.silu(F.group_norm(x, 2, w["in_layers.0.weight"], w["in_layers.0.bias"]))
    h = F.conv2d(resample(h), w["in_layers.2.weight"], w["in_layers.2.bias"], padding=1)
    y = F.linear(F.silu(emb), w["emb_layers.1.weight"], w["emb_layers.1.bias"])
    y_s, y_b = y[:, :12, None, None], y[:, 12:, None, None]
    h = F.group_norm(h, 3, w["out_layers.0.weight"], w["out_layers.0.bias"]) * (1 + y_s) + y_b
    h = F.conv2d(F.silu(h), w["out_layers.3.weight"], w["out_layers.3.bias"], padding=1)
    skip = F.conv2d(resample(x), w["skip_connection.weight"], w["skip_connection.bias"])
    torch.testing.assert_close(block(x, emb), skip + h, rtol=1e-5, atol=1e-5)


def test_a_picture_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    net = PixelUNet(PixelUNetConfig.from_dict(SMALL))
    x, timesteps = torch.randn(3, 3, 16, 16), torch.tensor([0.0, 400.0, 999.0])
    alone = torch.cat([net(x[i : i + 1], timesteps[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(x, timesteps), alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(x, timesteps), net(x, timesteps.flip(0)), atol=1e-3)


def test_patch_size_folds_pixels_into_channels_and_back():
    """A net on 2 x 2 patches is the net with 12 channels, between folding and unfolding."""
    folded = PixelUNet(PixelUNetConfig.from_dict(SMALL | {"patch_size": 2}))
    inner = PixelUNet(PixelUNetConfig.from_dict(SMALL | {"in_channels": 12, "image_size": 8}))
    inner.load_state_dict(folded.state_dict())
    x, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([10.0, 500.0])
    cells = x.reshape(2, 3, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 8, 8)
    out = inner(cells, timesteps).reshape(2, 3, 2, 2, 8, 8).permute(0, 1, 4, 2, 5, 3)
    torch.testing.assert_close(folded(x, timesteps), out.reshape(2, 3, 16, 16))


def test_config_to_dict_and_back_is_the_identity():
    config = PixelUNetConfig.from_dict(SMALL)
    assert config.channel_mult == (1, 2)
    assert PixelUNetConfig.from_dict(asdict(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": "x0"}, "prediction is 'eps' or 'v', got 'x0'"),
        ({"image_size": 17}, "image_size 17 is no multiple of the stride 2"),
        ({"patch_size": 3}, "no multiple of the stride 6"),
        ({"dropout": 0.1, "beta": 2}, "unknown entries .*: beta, dropout"),
    ],
)
def test_an_impossible_config_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PixelUNetConfig.from_dict(SMALL | changes)


def test_class_embedding_is_added_to_the_time_embedding():
    """Told class k, the network is the unconditional one with k's row on its time's bias."""
    torch.manual_seed(0)
    told = PixelUNet(PixelUNetConfig.from_dict(SMALL | {"num_classes": 3})).eval()
    plain = PixelUNet(PixelUNetConfig.from_dict(SMALL)).eval()
    weights = {k: v for k, v in told.state_dict().items() if k != "label_emb.weight"}
    plain.load_state_dict(weights)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([30.0, 700.0])
    with torch.no_grad():
        expected = plain(x, t)
        torch.testing.assert_close(told(x, t), expected)
        torch.testing.assert_close(told(x, t, y=torch.tensor([-1, -1])), expected)
        mixed = told(x, t, y=torch.tensor([2, -1]))
        plain.time_embed[2].bias += told.label_emb.weight[2]
        torch.testing.assert_close(mixed[:1], plain(x, t)[:1])
    torch.testing.assert_close(mixed[1:], expected[1:])
