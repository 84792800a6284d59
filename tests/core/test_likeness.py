"""Targets that compare the picture itself, against closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from ppap_core.guiders import check_by_trial
from ppap_core.guiders.picture_itself import picture_itself
from ppap_core.targets.contrast_target import ContrastTarget
from ppap_core.targets.known_region_target import KnownRegionTarget
from ppap_core.targets.lab import image_to_lab
from ppap_core.targets.likeness import KINDS, build_likeness
from ppap_core.targets.low_resolution_target import LowResolutionTarget
from ppap_core.targets.map_target import Frame
from ppap_core.targets.palette_target import PaletteTarget
from ppap_core.targets.reference_mean_target import ReferenceMeanTarget
from ppap_core.targets.wasserstein import directions, quantile_means

MASK = torch.zeros(24, 36)
MASK[:, :12] = 1


def picture(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def made(kind, rows=1, cells=4, **changes):
    mask = MASK if kind == "known region" else None
    settings = {"image": picture(rows, 3, 24, 36), "mask": mask, "cells": cells, "frame": Frame()}
    return build_likeness(kind, **settings | changes)


def gradient(target, seen):
    seen = seen.clone().requires_grad_(True)
    return torch.autograd.grad(target.log_likelihood(seen).sum(), seen)[0]


def test_the_guider_answers_with_the_picture():
    guider, image = picture_itself("palette"), picture(2, 3, 21, 34)
    check_by_trial(guider, "picture")
    torch.testing.assert_close(guider(image), image)


def test_low_resolution_is_led_by_the_adjoint_of_averaging():
    """A^T (y - A x), with A written out as a matrix: every row the mean of a block of 2 x 3."""
    y, x = picture(1, 3, 4, 4), picture(2, 3, 8, 12, seed=1)
    matrix = torch.zeros(16, 96)
    for i in range(8):
        for j in range(12):
            matrix[(i // 2) * 4 + j // 3, i * 12 + j] = 1 / 6
    error = y.flatten(2) - x.flatten(2) @ matrix.T
    target = LowResolutionTarget(y)
    torch.testing.assert_close(target.log_likelihood(x), -error.square().mean((1, 2)))
    expected = (2 / error[0].numel() * error @ matrix).view_as(x)
    torch.testing.assert_close(gradient(target, x), expected)
    psnr = 20 * math.log10(2 / error[1].square().mean().sqrt())
    assert target.agreement(x)[1].item() == pytest.approx(psnr, abs=1e-3)


def test_a_picture_smaller_than_the_reference_is_compared_in_its_own_size():
    y, x = picture(1, 3, 16, 24), picture(1, 3, 8, 12, seed=1)
    expected = -(F.avg_pool2d(y, 2) - x).square().mean()
    torch.testing.assert_close(LowResolutionTarget(y).log_likelihood(x)[0], expected)


def test_a_known_region_leads_nothing_elsewhere():
    y, x = picture(1, 3, 24, 36), picture(2, 3, 24, 36, seed=1)
    target = KnownRegionTarget(y, MASK)
    error = (x - y)[..., :12]
    torch.testing.assert_close(target.log_likelihood(x), -error.square().mean((1, 2, 3)))
    found = gradient(target, x)
    torch.testing.assert_close(found[..., :12], -2 * error / error[0].numel())
    assert not found[..., 12:].any()


@pytest.mark.parametrize("size", [(12, 18), (48, 72)])
def test_what_is_unknown_does_not_bleed_into_a_known_region_of_another_size(size):
    y = torch.full((1, 3, 24, 36), 0.25)
    y[..., 12:] = 100.0
    x = torch.full((1, 3, *size), 0.25)
    assert KnownRegionTarget(y, MASK).log_likelihood(x).abs().max() < 1e-9


@pytest.mark.parametrize(("have", "want"), [(6, 4), (4, 6), (5, 5), (12, 3), (3, 12)])
def test_quantile_means_are_those_of_the_numbers_repeated(have, want):
    """With every number as often as makes both counts equal, shares are whole numbers of them."""
    values = picture(2, have).double().sort(-1).values
    common = math.lcm(have, want)
    repeated = values.repeat_interleave(common // have, -1)
    expected = repeated.view(2, want, common // want).mean(-1)
    torch.testing.assert_close(quantile_means(values, want), expected)


def test_the_distance_of_sorted_values_is_scipys():
    """Of equally many numbers, |a - b| sorted is the first Wasserstein distance."""
    stats = pytest.importorskip("scipy.stats")
    a, b = (picture(1, 50, seed=seed)[0].sort().values for seed in (1, 2))
    found = (a - quantile_means(b, 50)).abs().mean().item()
    assert found == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-5)


def test_a_palettes_distance_is_the_length_of_a_shift_of_all_colours():
    """Along direction d a shift v moves every pixel by d v; three times the mean of (d v)^2."""
    lab = image_to_lab(picture(1, 3, 16, 16) / 4)
    shift = torch.tensor([6.0, -3.0, 2.0])
    target = PaletteTarget(picture(1, 3, 16, 16) / 4)
    along = directions(8)
    moved = ((lab + shift[:, None, None]).flatten(2).transpose(1, 2) @ along.T).sort(1).values
    wanted = target._sorted[0]
    found = (3 * (moved[0].T - wanted).square().mean()).sqrt().item()
    assert found == pytest.approx((3 * (along @ shift).square().mean()).sqrt().item(), rel=1e-4)
    assert found == pytest.approx(shift.norm().item(), rel=0.1)


def test_a_palette_does_not_ask_where_colours_are():
    x = picture(1, 3, 16, 16)
    mixed = x.flatten(2)[..., torch.randperm(256)].view_as(x)
    assert PaletteTarget(x).agreement(mixed).item() < 0.01
    assert PaletteTarget(x).agreement(picture(1, 3, 16, 16, seed=5) / 2).item() > 5


def test_a_palette_is_that_of_the_masked_pixels():
    x = picture(1, 3, 24, 36)
    inside = x[..., :12]
    found = PaletteTarget(x, MASK).agreement(inside)
    assert found.item() < 0.01


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_lab_is_that_of_published_tables(rgb, lab):
    found = image_to_lab(torch.tensor(rgb, dtype=torch.float32)[:, None, None] * 2 - 1)
    torch.testing.assert_close(found.flatten(), torch.tensor(lab).float(), rtol=0, atol=0.02)


def test_mean_and_contrast_are_those_of_the_whole_picture():
    y, x = picture(1, 3, 8, 12), picture(1, 3, 8, 12, seed=1) / 3
    parts = [torch.cat((p[0].mean((1, 2)), p[0].std((1, 2), correction=0))) for p in (y, x)]
    error = (parts[0] - parts[1]).square().mean()
    torch.testing.assert_close(ContrastTarget(y).log_likelihood(x)[0], -error)
    torch.testing.assert_close(ContrastTarget(y).agreement(x)[0], 127.5 * error.sqrt())


def test_regions_weigh_pixels_by_triangles():
    """Along a side of 12, two of them: middles at 3 and 9, each with a reach of 6."""
    y, x = picture(1, 3, 8, 12), picture(1, 3, 8, 12, seed=1) / 3
    places = torch.arange(12) + 0.5
    weights = torch.stack([(1 - (places - middle).abs() / 6).clamp(min=0) for middle in (3, 9)])
    weights = weights / weights.sum(1, keepdim=True)
    rows = torch.full((8,), 1 / 8)

    def statistics(image):
        means, squares = (torch.einsum("chw,h,kw->ck", v, rows, weights) for v in (image, image**2))
        return torch.stack((means, (squares - means**2).sqrt()))

    expected = -(statistics(y[0]) - statistics(x[0])).square().mean()
    torch.testing.assert_close(ContrastTarget(y, (1, 2)).log_likelihood(x)[0], expected)


def test_one_reference_is_a_plain_pull():
    y, x = picture(1, 3, 8, 12), picture(2, 3, 8, 12, seed=1)
    target, plain = ReferenceMeanTarget(y, MASK[:8, 6:18]), LowResolutionTarget(y, MASK[:8, 6:18])
    torch.testing.assert_close(target.log_likelihood(x), plain.log_likelihood(x))
    torch.testing.assert_close(gradient(target, x), gradient(plain, x))


def test_several_references_lead_to_their_posterior_mean():
    """Torch's own mixture of Gaussians around them; s^2 is the error from the nearest other one."""
    y, x = picture(3, 3, 4, 6), picture(2, 3, 4, 6, seed=1)
    y[2] += 4  # far away
    target = ReferenceMeanTarget(y)
    near = (y[0] - y[1]).square().mean()
    far = (y[2] - y[:2]).square().mean((1, 2, 3)).amin()
    variance = (2 * near + far) / 3
    assert target.variance == pytest.approx(variance.item(), rel=1e-5)
    size = y[0].numel()
    weights = (-(x[:, None] - y).square().mean((2, 3, 4)) / (2 * variance)).softmax(1)
    mean = torch.einsum("br,rchw->bchw", weights, y)
    torch.testing.assert_close(gradient(target, x), 2 * (mean - x) / size)
    normal = torch.distributions.Normal(y.flatten(1), (variance * size).sqrt())
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.zeros(3)),
        torch.distributions.Independent(normal, 1),
    )
    logs = mixture.log_prob(x.flatten(1)) * 2 * variance
    found = target.log_likelihood(x)
    torch.testing.assert_close(found[0] - found[1], logs[0] - logs[1], rtol=1e-3, atol=1e-3)


def test_a_far_reference_has_no_weight_and_one_given_twice_has_twice():
    near, x = picture(2, 3, 4, 6), picture(1, 3, 4, 6, seed=1)
    far = torch.cat((near, near[:1] + 60, near[:1] + 60))
    led = gradient(ReferenceMeanTarget(far), x)
    errors = (x - near).square().mean((1, 2, 3))
    variance = (near[0] - near[1]).square().mean() / 2  # the far ones are each other's nearest
    weights = (-errors / (2 * variance)).softmax(0)
    wanted = (weights[:, None, None, None] * near).sum(0) - x
    torch.testing.assert_close(led, 2 * wanted / x.numel(), rtol=1e-3, atol=1e-6)


def test_references_are_for_every_picture_and_large_ones_are_compared_small():
    references = picture(5, 3, 64, 300)
    target, x = ReferenceMeanTarget(references), picture(3, 3, 80, 400, seed=1)
    errors = target.errors(x)
    wanted = [F.interpolate(p, (27, 128), mode="area") for p in (x, references)]
    expected = (wanted[0][:, None] - wanted[1]).square().mean((2, 3, 4))
    torch.testing.assert_close(errors, expected, rtol=1e-4, atol=1e-6)
    assert target.log_likelihood(x).shape == (3,)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind):
    """In any picture, larger or smaller, and at its own reference there is nothing to gain."""
    target, seen, step = made(kind).target, 1.2 * picture(2, 3, 20, 31, seed=3), 1e-4
    found = gradient(target, seen)
    direction = found / found.abs().amax() + picture(*found.shape, seed=4) / 10
    ends = [target.log_likelihood(seen + sign * step * direction) for sign in (1, -1)]
    slope = (found * direction).flatten(1).sum(1)
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), slope, rtol=0.03, atol=1e-6)
    assert made(kind, cells=0).target.log_likelihood(picture(1, 3, 24, 36)).abs() < 1e-7


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "reference mean"])
def test_a_row_for_each_picture(kind):
    target, seen = made(kind, rows=2).target, picture(2, 3, 20, 31, seed=3)
    one = made(kind, image=picture(2, 3, 24, 36)[1:]).target
    torch.testing.assert_close(target.log_likelihood(seen)[1:], one.log_likelihood(seen[1:]))
    with pytest.raises(ValueError, match="the target is for 2 pictures, the batch has 3"):
        target.log_likelihood(picture(3, 3, 20, 31))
    with pytest.raises(ValueError, match="connect the guider of the same Target Likeness"):
        target.log_likelihood(torch.zeros(2, 10))


@pytest.mark.parametrize(
    ("kind", "changes", "line"),
    [
        ("low resolution", {"cells": 64}, "is 36 x 24 pixels, cells asks for 64 .*: lower cells"),
        ("mean and contrast", {"cells": 64}, "is 36 x 24 pixels, cells asks for 64"),
        ("known region", {"mask": None}, "a known region needs a mask: connect one"),
        ("known region", {"mask": MASK * 0}, "the mask is empty"),
        ("known region", {"mask": MASK * 0 + 1}, "the mask covers the whole picture, so nothing"),
        ("palette", {"mask": MASK * 0}, "the mask is empty"),
        ("low resolution", {"mask": MASK * 0}, "the mask is empty"),
        ("palette", {"mask": torch.ones(3, 8, 8)}, "socket mask has 3 masks, the socket image 1"),
        ("mean and contrast", {"mask": MASK}, "leave the socket mask empty"),
        ("palette", {"image": torch.full((1, 3, 4, 4), torch.nan)}, "values that are not finite"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(kind, changes, line):
    with pytest.raises(ValueError, match=line) as error:
        made(kind, **changes)
    assert "\n" not in str(error.value)


def test_a_mask_of_another_size_is_resized_and_borders_do_not_count():
    mask = torch.zeros(6, 9)
    mask[:, :3] = 1
    resized = made("known region", mask=mask)
    assert "the mask was 9 x 6, the reference is 36 x 24: resized" in resized.info
    framed = made("low resolution", cells=0, frame=Frame(100, 100, "pad"))
    assert framed.target.reference.shape[-2:] == (36, 36)
    assert framed.target.mask[0, :6].sum() == 0 and framed.target.mask[0, 6:30].min() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_is_shown_and_told(kind):
    found = made(kind, rows=2)
    assert found.preview.shape[:2] == (1 if kind == "reference mean" else 2, 3)
    assert found.preview.abs().max() <= 1
    assert found.info.startswith(f"{kind} of 2 pictures: ") and "\n" not in found.info
    told = found.target.wording(()).tell_live(14.23, 21.0)
    assert "14.2" in told and "21.0" in told
