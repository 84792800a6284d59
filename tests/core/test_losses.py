"""Losses against torch's own distributions and closed forms."""

from typing import get_args

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from ppap_core.distillation.losses import (
    COMPARISONS,
    DENSE_SIDE,
    class_loss,
    compare,
    constant_loss,
    depth_agreement,
    depth_loss,
    downscale,
    loss_kind,
    segmentation_loss,
)
from ppap_core.distillation.teacher import label_answers
from ppap_core.guiders import GuiderInfo
from ppap_core.guiders.guider import ANSWERS, TASKS
from ppap_core.targets import Target


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_class_loss_is_the_kl_divergence_from_the_teacher(temperature):
    torch.manual_seed(0)
    answer, teacher = torch.randn(6, 5), torch.randn(6, 5)
    expected = kl_divergence(
        Categorical(logits=teacher / temperature), Categorical(logits=answer)
    ).mean()
    torch.testing.assert_close(class_loss(answer, teacher, temperature), expected)


def test_class_loss_vanishes_where_the_student_agrees():
    logits = torch.randn(6, 5)
    assert class_loss(logits + 3, logits, 1.0).item() == pytest.approx(0, abs=1e-6)


def test_segmentation_loss_is_the_mean_kl_divergence_of_the_pixels():
    torch.manual_seed(0)
    answer, teacher = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    pixels = [
        kl_divergence(
            Categorical(logits=teacher[b, :, i, j]), Categorical(logits=answer[b, :, i, j])
        )
        for b in range(2)
        for i in range(3)
        for j in range(4)
    ]
    torch.testing.assert_close(segmentation_loss(answer, teacher), torch.stack(pixels).mean())


def test_depth_loss_ignores_scale_and_shift_but_not_inversion():
    torch.manual_seed(0)
    depth = torch.rand(3, 6, 7)
    scale = torch.tensor([0.5, 2.0, 9.0])[:, None, None]
    assert depth_loss(scale * depth + 4, depth).item() == pytest.approx(0, abs=1e-8)
    assert depth_loss(-depth, depth) > 1
    torch.testing.assert_close(depth_agreement(scale * depth + 4, depth), torch.ones(3))
    torch.testing.assert_close(depth_agreement(-depth, depth), -torch.ones(3))


def test_depth_agreement_is_pearsons_correlation():
    torch.manual_seed(0)
    one, other = torch.rand(2, 4, 5), torch.rand(2, 4, 5)
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        for a, b in zip(one, other, strict=True)
    ]
    torch.testing.assert_close(depth_agreement(one, other), torch.stack(expected))


def test_class_loss_with_one_hot_teacher_is_cross_entropy():
    torch.manual_seed(0)
    answer, labels = torch.randn(8, 5), torch.randint(5, (8,))
    expected = torch.nn.functional.cross_entropy(answer, labels)
    torch.testing.assert_close(class_loss(answer, label_answers(labels, 5)), expected)


@pytest.mark.parametrize("task", COMPARISONS)
def test_constant_loss_is_the_loss_of_the_best_constant_answer(task):
    """Compared with many random constant answers, none of which looks at the picture."""
    torch.manual_seed(0)
    slope = torch.arange(16.0).reshape(4, 4)  # the floor is near, the wall far: so most scenes are
    depth = slope + 3 * torch.rand(40, 4, 4)
    classes, maps = torch.randn(40, 5), torch.randn(40, 3, 4, 4)
    teacher = {
        "class": classes,
        "class, sigmoid": classes,
        "class, score": classes,
        "segmentation": maps,
        "depth": depth,
        "depth, mse": depth,
    }[task]
    best = constant_loss(task, teacher, 1.0)
    for _ in range(50):
        constant = torch.randn_like(teacher[:1]).expand_as(teacher)
        assert compare(task, constant, teacher, 1.0)[0] > best
    assert compare(task, teacher, teacher, 1.0) == pytest.approx((0, 1), abs=1e-6)


def kinds_of_guiders() -> list[str]:
    return [
        GuiderInfo("timm/net", "net", task, tuple("ab"), "0", answer).kind
        for task in TASKS
        for answer in ANSWERS[task]
    ]


def test_every_kind_of_guider_has_a_target_and_a_comparison():
    kinds = kinds_of_guiders()
    assert {target.task for target in get_args(Target)} == set(TASKS)
    assert {loss_kind(kind, depth) for kind in kinds for depth in ("aligned", "mse")} == set(
        COMPARISONS
    )
    assert all(loss_kind(kind) == kind for kind in kinds)
    with pytest.raises(ValueError, match="cannot be trained for a guider that predicts pose"):
        loss_kind("pose")


def test_only_large_dense_answers_are_shrunk():
    assert downscale(torch.randn(2)).shape == (2,)
    assert downscale(torch.randn(2, 1000)).shape == (2, 1000)
    assert downscale(torch.randn(2, 5, 60, 64)).shape == (2, 5, 60, 64)
    assert downscale(torch.randn(2, 5, 128, 256)).shape == (2, 5, DENSE_SIDE // 2, DENSE_SIDE)
    constant = torch.full((1, 100, 200), 3.0)
    torch.testing.assert_close(downscale(constant), torch.full((1, 32, 64), 3.0))
