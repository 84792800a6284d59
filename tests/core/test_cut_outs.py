"""Parts of pictures, read by themselves: PyTorch's resize, closed forms, sums of single answers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ppap_core.cut_outs import box_mask, check_boxes, cut_out, cut_sides
from ppap_core.guidance import Guidance
from ppap_core.guidance_run import GuidanceRun
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing
from ppap_core.shaping import Shaping
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget
from ppap_core.targets.cut_outs_target import CutOutsTarget
from ppap_core.tasks import get_task

READS = Preprocessing((24, 16), (0.5,) * 3, (0.5,) * 3, crop_mode="border", black_border=True)
LEFT, RIGHT = (0.05, 0.1, 0.35, 0.55), (0.55, 0.2, 0.85, 0.65)


def boxes(*rows):
    return torch.tensor([list(row) for row in rows])


def pictures(batch=2, height=60, width=60, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.manual_seed(seed)) * 2 - 1


def guider():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 16, 32), nn.Tanh(), nn.Linear(32, 5))
    return Guider(net, READS, GuiderInfo("mine", "net", "class", tuple("abcde"), "f" * 64))


def classes(*rows):
    return ClassTarget({k: 1.0 for k in rows}, 5)


@pytest.mark.parametrize("size", [(24, 16), (96, 90)])
def test_the_whole_picture_is_pytorchs_own_resize(size):
    reads = Preprocessing(size, (0.5,) * 3, (0.5,) * 3, crop_mode="squash")
    image = pictures()
    got = cut_out(image, boxes([(0.0, 0.0, 1.0, 1.0)]), reads)
    torch.testing.assert_close(got, F.interpolate(image, size, mode="bilinear", antialias=True))


def test_a_box_on_pixels_is_that_part_and_black_beyond_the_picture():
    """40 x 60 pixels, of which 10 columns are left of the picture, read as 40 x 60."""
    image = pictures(1, 60, 80)
    reads = Preprocessing((60, 40), (0.5,) * 3, (0.5,) * 3, crop_mode="border", black_border=True)
    cut = cut_out(image, boxes([(-10 / 80, 0.0, 30 / 80, 1.0)]), reads)
    assert cut.shape == (1, 3, 60, 40)
    torch.testing.assert_close(cut[..., 10:], image[..., :30])
    assert (cut[..., :10] + 1).abs().max() < 1e-6


def test_a_point_lands_where_the_box_says():
    """A linear picture has its own coordinates as values, which a resize keeps (0.025: a pixel)."""
    at = (torch.arange(60) + 0.5) / 60
    ramp = torch.stack((at.expand(60, 60), at[:, None].expand(60, 60), torch.zeros(60, 60)))[None]
    left, top, right, bottom = 0.213, 0.131, 0.613, 0.731
    cut = cut_out(ramp, boxes([(left, top, right, bottom)]), READS)[0]
    across, down = (torch.arange(16) + 0.5) / 16, (torch.arange(24) + 0.5) / 24
    torch.testing.assert_close(cut[0], (left + 0.4 * across).expand(24, 16), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        cut[1], (top + 0.6 * down)[:, None].expand(24, 16), atol=1e-3, rtol=0
    )


def test_two_parts_have_the_sum_of_both_log_likelihoods():
    """Of a picture that shows the same part twice, and of one with two parts."""
    net, image = guider(), pictures()
    image[1, :, 9:42, 30:54] = image[1, :, 3:36, 0:24].clone()  # with what is next to it
    both = CutOutsTarget((classes(1), classes(3)), boxes([LEFT, RIGHT]))
    answer = Guidance(net, both).answer(image, 1.0)
    got = both.log_likelihood(answer)
    parts = {LEFT: image[..., 6:33, 3:21], RIGHT: image[..., 12:39, 33:51]}
    expected = sum(
        target.log_likelihood(net(F.interpolate(part, (24, 16), mode="bilinear", antialias=True)))
        for target, part in zip(both.targets, parts.values(), strict=True)
    )
    # Only the outermost pixels differ: those of a cut-out know their neighbours in the picture.
    torch.testing.assert_close(got, expected, atol=0.05, rtol=0)
    single = [CutOutsTarget((t,), boxes([box])) for t, box in zip(both.targets, parts, strict=True)]
    alone = [t.log_likelihood(Guidance(net, t).answer(image, 1.0)) for t in single]
    torch.testing.assert_close(got, sum(alone))
    same = answer.unflatten(0, (2, 2))[1]
    torch.testing.assert_close(same[0], same[1])


def test_nothing_outside_the_boxes_is_moved():
    net, image = guider(), pictures()
    target = CutOutsTarget((classes(1), classes(2)), boxes([LEFT, RIGHT]))
    inside = torch.zeros(60, 60, dtype=torch.bool)
    inside[6:33, 3:21] = inside[12:39, 33:51] = True
    guidance = Guidance(net, target, Strength(0.3, "relative"), shaping=Shaping(spectrum="white"))
    gradient = guidance.score(image, 1.0).gradient
    grown = F.max_pool2d(inside[None].float(), 5, 1, 2)[0] > 0
    assert gradient[..., ~grown].abs().max() == 0 and gradient[..., inside].abs().min() > 0
    shift = GuidanceRun(guidance).shift(image, torch.ones(2))
    assert shift[..., ~inside].abs().max() < 1e-6
    dense = shift[..., inside].square().mean().sqrt()
    noise = 0.5**0.5  # of x_vp at sigma_ve 1
    assert dense == pytest.approx(0.3 * noise, rel=1e-4)  # as dense as without boxes


def test_each_picture_has_its_own_boxes_and_weights():
    net, image = guider(), pictures()
    rows = boxes([LEFT, RIGHT], [RIGHT, RIGHT])
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    target = CutOutsTarget((classes(1), classes(2)), rows, weights)
    got = target.log_likelihood(Guidance(net, target).answer(image, 1.0))
    ones = [CutOutsTarget(target.targets, rows[k : k + 1], weights[k : k + 1]) for k in (0, 1)]
    for k, one in enumerate(ones):
        alone = one.log_likelihood(Guidance(net, one).answer(image[k : k + 1], 1.0))
        torch.testing.assert_close(got[k : k + 1], alone)
    with pytest.raises(ValueError, match="target is for 2 pictures, the batch has 3"):
        Guidance(net, target).answer(pictures(3), 1.0)


def test_the_shape_that_memory_counts_is_the_one_that_is_read():
    seen = []
    net, target = guider(), CutOutsTarget((classes(1),) * 3, boxes([LEFT, RIGHT, LEFT]))
    net.preprocessing = Preprocessing((30, 30), (0.5,) * 3, (0.5,) * 3, crop_mode="shortest")
    net.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    guidance = Guidance(net, target, at_once=lambda shape: seen.append(shape) or 4)
    with pytest.raises(RuntimeError):  # the little net reads one size
        guidance.answer(pictures(), 1.0)
    expected = guidance.read_shape(torch.Size((2, 3, 60, 60)))
    assert seen == [expected, (4, *expected[1:])] and expected == (6, 3, 45, 30)
    assert cut_sides(target.boxes, (60, 60), net.preprocessing) == (45, 30)


def test_a_mask_is_the_area_that_boxes_share_with_pixels():
    mask = box_mask(boxes([(0.25, 0.0, 0.5, 1.5), (0.4, 0.5, 0.6, 1.0)]), (2, 8))
    expected = torch.zeros(1, 2, 8)
    expected[:, :, 2:4] = 1
    expected[:, 1, 4] = 0.8
    torch.testing.assert_close(mask, expected)


def test_its_recommendation_and_words_are_those_of_its_targets():
    target = CutOutsTarget((classes(1),), boxes([LEFT]))
    away = ClassTarget({1: -1.0}, 5)
    task = get_task("class")
    for inner in (target.targets[0], away):
        whole = CutOutsTarget((inner,), boxes([LEFT]))
        assert task.recommends(whole) is task.recommends(inner)
    assert target.wording(tuple("abcde")) == target.targets[0].wording(tuple("abcde"))


@pytest.mark.parametrize("box", [(1.0, 0.0, 1.2, 1.0), (0.5, 0.2, 0.5, 0.9), (0.6, 0.1, 0.4, 0.9)])
def test_boxes_outside_or_without_area_are_refused(box):
    with pytest.raises(ValueError, match="box is empty or outside the picture"):
        check_boxes(boxes([box]))
