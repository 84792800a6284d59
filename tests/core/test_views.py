"""Views against per-pixel formulas, and what little memory must not change."""

import pytest
import torch

from ppap_core.tiles import largest_tile
from ppap_core.views import DecodePlan, DecoderView, LinearRgb, fold_frames


def state(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_linear_rgb_maps_every_pixel_by_itself():
    factors, bias = state(4, 3), state(3)
    x = state(2, 4, 3, 5)
    image = LinearRgb(factors.tolist(), bias.tolist())(x)
    for b, i, j in [(0, 0, 0), (1, 2, 4), (1, 0, 3)]:
        expected = [
            sum(float(x[b, c, i, j] * factors[c, k]) for c in range(4)) + float(bias[k])
            for k in range(3)
        ]
        torch.testing.assert_close(image[b, :, i, j], torch.tensor(expected))


def test_linear_rgb_can_unfold_channels_into_pixels():
    view = LinearRgb([[1.0, 0, 0]], reshape=lambda x: torch.pixel_shuffle(x, 2))
    x = state(1, 4, 3, 3)
    red, green, _ = view(x)[0]
    assert red[4, 3] == x[0, 1, 2, 1] and green.eq(0).all()


def test_frames_become_pictures_video_by_video():
    video = state(2, 4, 3, 5, 6)
    folded = fold_frames(video)
    assert folded.shape == (6, 4, 5, 6)
    for b in range(2):
        for t in range(3):
            assert folded[3 * b + t].equal(video[b, :, t])


def test_a_latent_with_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"latents with 4 channels.*\(1, 16, 8, 8\)"):
        LinearRgb(state(4, 3).tolist())(state(1, 16, 8, 8))


@pytest.mark.parametrize("shape", [(5, 4, 6, 6), (5, 4, 2, 6, 6)])
def test_decoding_picture_by_picture_gives_the_same_image_and_gradient(shape):
    torch.manual_seed(0)
    passes = []
    convolve = [torch.nn.Conv2d, torch.nn.Conv3d][len(shape) - 4](4, 3, 3)

    def decode(x):
        passes.append(len(x))
        return convolve(torch.nn.functional.pad(x, [1] * 2 * (len(shape) - 2))).tanh()

    results = []
    for at_once in (5, 2):
        x = state(*shape).requires_grad_(True)
        image = DecoderView(decode, lambda s, n=at_once: DecodePlan(n))(x)
        results.append((image, torch.autograd.grad(image.square().sum(), x)[0]))
    torch.testing.assert_close(results[0], results[1])
    assert passes[:4] == [5, 2, 2, 1] and max(passes[4:]) == 2  # the backward pass runs them again


@pytest.mark.parametrize("shape", [(2, 4, 20, 33), (2, 4, 2, 20, 33)])
def test_tiles_show_what_the_whole_shows_if_the_decoder_looks_no_further_than_their_margin(shape):
    torch.manual_seed(0)
    seen = []
    convolve = [torch.nn.Conv2d, torch.nn.Conv3d][len(shape) - 4](4, 3, 3, padding=1)

    def decode(x):
        seen.append(x.shape[-2:])
        sides = (1,) * (len(shape) - 4) + (2, 2)
        return torch.nn.functional.interpolate(convolve(x), scale_factor=sides).tanh()

    results = []
    for tiles in (1, 3):
        x = state(*shape).requires_grad_(True)
        image = DecoderView(decode, lambda s, n=tiles: DecodePlan(len(s), tiles=n))(x)
        results.append((image, torch.autograd.grad(image.square().sum(), x)[0]))
    torch.testing.assert_close(results[0], results[1])
    largest = [largest_tile(side, 3) for side in shape[-2:]]
    assert max(sides[1] for sides in seen[1:]) == largest[1] < shape[-1]
    assert len(seen) == 1 + 2 * 2 * 9  # two pictures; the backward pass runs each tile again


def test_what_is_left_out_is_for_the_decoder_to_leave_out():
    calls = []

    def decode(x, left_out=0):
        calls.append(left_out)
        return x[:, :3]

    for left_out in (0, 1):
        DecoderView(decode, lambda s, n=left_out: DecodePlan(1, n))(state(1, 4, 6, 8))
    assert calls == [0, 1]
