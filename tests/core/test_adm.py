"""ADM checkpoints against an independent network in the published layout."""

import pytest
import torch

from ppap_core.adm import is_adm, read_adm
from ppap_core.pixel_unet import PixelUNet
from tests.core.reference_adm import UNetModel

SIZES = {
    "as published, narrow": (32, 2, (2, 4), (1, 2, 2)),
    "several heads": (64, 1, (2,), (1, 3)),
    "attention in no level": (64, 1, (), (1, 1, 2)),
    "attention in the first": (64, 2, (1, 2), (1, 1)),
}


def reference(sizes):
    """A random network; its zeroed layers (last convolutions) are random as well."""
    torch.manual_seed(0)
    return UNetModel(*sizes).eval()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_an_adm_checkpoint_answers_as_the_published_network(sizes):
    published = reference(sizes)
    config, weights = read_adm(published.state_dict())
    net = PixelUNet(config)
    net.load_state_dict(weights)
    x, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 900.0])
    with torch.no_grad():
        got, expected = net(x, timesteps), published(x, timesteps)[:, :3]
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_the_config_of_the_papers_base_model_is_read_from_its_shapes():
    """256x256_diffusion_uncond.pt: 552,814,086 parameters."""
    with torch.device("meta"):
        published = UNetModel(256, 2, (8, 16, 32), (1, 1, 2, 2, 4, 4))
    weights = published.state_dict()
    assert sum(value.numel() for value in weights.values()) == 552_814_086
    config, _ = read_adm(weights)
    assert (config.image_size, config.model_channels) == (256, 256)
    assert config.channel_mult == (1, 1, 2, 2, 4, 4)
    assert (config.num_res_blocks, config.attention_levels) == (2, (3, 4, 5))
    assert (config.num_head_channels, config.prediction) == (64, "eps")
    ours = PixelUNet(config, device="meta").state_dict()
    assert {k: v.shape for k, v in read_adm(weights)[1].items()} == {
        k: v.shape for k, v in ours.items()
    }


def test_adm_weights_in_half_precision_are_read_as_float32():
    _, weights = read_adm(reference(SIZES["several heads"]).half().state_dict())
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_is_adm_recognises_adm_weights_only():
    assert is_adm(reference(SIZES["several heads"]).state_dict())
    assert not is_adm({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_emb.weight": (1000, 256)}, "class-conditional"),
        ({"input_blocks.3.0.op.weight": (64, 64, 3, 3)}, "plain convolutions"),
        ({"input_blocks.1.0.emb_layers.1.weight": (64, 256)}, "scaled and shifted"),
        (
            {"output_blocks.9.0.in_layers.2.weight": (64, 64, 3, 3)},
            "layers are not ADM's: there is no",
        ),
        (
            {"output_blocks.4.0.in_layers.2.weight": (64, 64, 3, 3)},
            "5 blocks of widths .* not ADM's",
        ),
    ],
)
def test_network_that_is_not_adm_is_refused(change, message):
    weights = reference(SIZES["several heads"]).state_dict()
    weights |= {key: torch.zeros(shape) for key, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        read_adm(weights)
