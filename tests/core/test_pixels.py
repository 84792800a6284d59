"""Pixels: every way to hold them and back, against PIL's and numpy's own reading."""

import numpy
import torch
from PIL import Image

from ppap_core.pixels import (
    bhwc_to_image,
    bytes_to_image,
    enlarge,
    image_to_bhwc,
    image_to_bytes,
    image_to_pil,
    pil_to_bhwc,
)


def every_byte() -> torch.Tensor:
    """(3, 16, 16) with all 256 values in each channel, in another order."""
    ramp = torch.arange(256).view(16, 16)
    return torch.stack([ramp, 255 - ramp, ramp.roll(5)]).byte()


def test_bytes_come_back_from_an_image():
    image = bytes_to_image(every_byte())
    assert (image.dtype, image.min(), image.max()) == (torch.float32, -1, 1)
    assert image_to_bytes(image).equal(every_byte())


def test_values_beyond_the_ends_become_the_ends():
    assert image_to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_pil_shows_the_bytes_of_an_image():
    picture = image_to_pil(bytes_to_image(every_byte()))
    assert picture.mode == "RGB"
    assert (numpy.asarray(picture) == every_byte().permute(1, 2, 0).numpy()).all()


def test_comfyuis_images_come_back():
    bhwc = torch.rand(2, 3, 5, 3, generator=torch.Generator().manual_seed(0))
    image = bhwc_to_image(bhwc)
    assert image.shape == (2, 3, 3, 5)
    torch.testing.assert_close(image_to_bhwc(image), bhwc)


def test_an_alpha_channel_is_left_out():
    bhwc = torch.rand(1, 2, 2, 4)
    assert bhwc_to_image(bhwc).equal(bhwc_to_image(bhwc[..., :3]))


def test_a_pil_picture_becomes_comfyuis_image():
    pixels = every_byte().permute(1, 2, 0).numpy()
    bhwc = pil_to_bhwc(Image.fromarray(pixels))
    assert bhwc.shape == (1, 16, 16, 3)
    assert (bhwc[0].mul(255).round().numpy() == pixels).all()


def test_enlarging_multiplies_whole_pixels_as_pil_does():
    picture = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (5, 7, 3), "uint8"))
    larger = enlarge(pil_to_bhwc(picture), 12)
    expected = pil_to_bhwc(picture.resize((21, 15), Image.Resampling.NEAREST))
    assert torch.equal(larger, expected)
    assert torch.equal(enlarge(larger, 15), larger)
