"""IMAGEs and MASKs of other packs, in other shapes than ComfyUI's own."""

import numpy
import pytest
import torch

from ppap_core.comfy_bridge.sockets import read_image, read_mask

COLOUR = torch.rand(2, 32, 24, 3)
GREY = torch.rand(2, 32, 24)
AS_COLOUR = GREY[..., None].expand(-1, -1, -1, 3)
ALPHA = torch.rand(2, 32, 24, 1)
IMAGES = {
    "colour": (COLOUR, COLOUR),
    "one picture": (COLOUR[0], COLOUR[:1]),
    "alpha": (torch.cat([COLOUR, ALPHA], -1), COLOUR),
    "one with alpha": (torch.cat([COLOUR, ALPHA], -1)[0], COLOUR[:1]),
    "grey, a channel": (GREY[..., None], AS_COLOUR),
    "grey and alpha": (torch.stack([GREY, ALPHA[..., 0]], -1), AS_COLOUR),
    "grey, no channel": (GREY, AS_COLOUR),
    "one grey, no channel": (GREY[:1], AS_COLOUR[:1]),
    "one grey, a channel": (GREY[0, ..., None], AS_COLOUR[:1]),
    "height and width": (GREY[0], AS_COLOUR[:1]),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_read_whatever_axes_it_has(name):
    value, wanted = IMAGES[name]
    image = read_image(value)
    assert image.shape == (len(wanted), 3, 32, 24)
    assert image.equal(wanted.permute(0, 3, 1, 2) * 2 - 1)


@pytest.mark.parametrize("scale", [1, 255, 65535])
def test_whole_numbers_are_scaled(scale):
    value = (torch.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3) % 2 * scale).to(torch.int32)
    assert read_image(value).unique().tolist() == [-1, 1]
    mask = value[..., 0].bool() if scale == 1 else value[..., 0]
    assert read_mask(mask).equal(value[..., 0] / scale)


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (torch.rand(1, 3, 32, 24), "(1, 3, 32, 24)"),
        (torch.rand(3, 32, 24), "(3, 32, 24)"),
        (torch.rand(4, 32, 24), "(4, 32, 24)"),
        (torch.rand(1, 2, 32, 24, 3), "(1, 2, 32, 24, 3)"),
        (torch.rand(1, 32, 24, 5), "(1, 32, 24, 5)"),
        (torch.rand(0, 32, 24, 3), "(0, 32, 24, 3)"),
        (torch.rand(7), "(7)"),
        ([COLOUR], "a list"),
        (numpy.zeros((1, 8, 8, 3)), "a ndarray"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_image_is_refused_with_the_sockets_name(value, came):
    with pytest.raises(ValueError, match="the socket 'photo' takes") as caught:
        read_image(value, "photo")
    assert f"it got {came}:" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [GREY, GREY[:, None], GREY[..., None], GREY.half().float()], ids=lambda v: str(v.shape)
)
def test_a_mask_is_read_whatever_axes_it_has(value):
    wanted = value.reshape(2, 32, 24)
    assert read_mask(value).equal(wanted)
    assert read_mask(value[:1]).equal(wanted[:1])
    assert read_mask(GREY[0]).equal(GREY[:1])


@pytest.mark.parametrize("value", [COLOUR, torch.rand(2, 0, 4), torch.rand(5), [GREY]])
def test_what_is_no_mask_is_refused_with_the_sockets_name(value):
    with pytest.raises(ValueError, match="the socket 'region' takes .*MASK"):
        read_mask(value, "region")
