"""Losses against torch's own distributions and closed forms."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from ppap_core.distillation.losses import (
    DENSE_SIDE,
    compare,
    constant_loss,
    downscale,
    loss_kind,
)
from ppap_core.guiders import GuiderInfo
from ppap_core.tasks import all_tasks, comparisons
from ppap_core.tasks.class_task import (
    class_loss,
    label_answers,
    score_agreement,
    score_loss,
    tag_agreement,
    tag_loss,
)
from ppap_core.tasks.depth_task import depth_agreement, depth_loss
from ppap_core.tasks.segmentation_task import segmentation_loss

COMPARISONS = comparisons()
TASKS = {task.name: task for task in all_tasks() if task.comparisons}


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


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_tags_loss_is_the_kl_divergence_of_independent_yes_and_no(temperature):
    torch.manual_seed(0)
    answer, teacher = torch.randn(6, 5), torch.randn(6, 5)
    expected = kl_divergence(Bernoulli(logits=teacher / temperature), Bernoulli(logits=answer))
    torch.testing.assert_close(tag_loss(answer, teacher, temperature), expected.sum(1).mean())


def test_one_tags_loss_is_that_of_a_softmax_over_it_and_its_opposite():
    torch.manual_seed(0)
    answer, teacher = torch.randn(6, 1), torch.randn(6, 1)
    pairs = [torch.cat([torch.zeros_like(x), x], 1) for x in (answer, teacher)]
    torch.testing.assert_close(tag_loss(answer, teacher), class_loss(*pairs))


def test_tags_loss_of_certain_answers_is_finite_and_has_a_gradient():
    answer = torch.tensor([[300.0, -300.0]], requires_grad=True)
    loss = tag_loss(answer, -answer.detach())
    (gradient,) = torch.autograd.grad(loss, answer)
    torch.testing.assert_close(loss.detach(), torch.tensor(600.0))
    assert gradient.isfinite().all() and gradient.abs().min() > 0


def test_score_loss_is_the_kl_divergence_of_gaussians():
    torch.manual_seed(0)
    answer, teacher = torch.randn(6, 2), torch.randn(6, 2)
    expected = kl_divergence(Normal(teacher, 0.5**0.5), Normal(answer, 0.5**0.5)).sum(1).mean()
    torch.testing.assert_close(score_loss(answer, teacher, 0.5), expected)


def test_tag_agreement_is_intersection_over_union():
    teacher = torch.tensor([[1.0, 1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1], [1, 1, 1, 1]])
    student = torch.tensor([[1.0, -1, 1, -1], [-1, -1, -1, -1], [1, -1, -1, -1], [1, 1, 1, 1]])
    torch.testing.assert_close(tag_agreement(student, teacher), torch.tensor([1 / 3, 1, 0, 1]))


def test_score_agreement_is_the_share_of_pairs_in_the_same_order():
    scipy_stats = pytest.importorskip("scipy.stats")
    torch.manual_seed(0)
    answer, teacher = torch.randn(12, 1), torch.randn(12, 1)
    tau = scipy_stats.kendalltau(answer[:, 0], teacher[:, 0]).statistic
    assert score_agreement(answer, teacher).mean().item() == pytest.approx((tau + 1) / 2)
    assert score_agreement(answer[:1], teacher[:1]).tolist() == [1.0]


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
        "embedding": classes / classes.norm(dim=1, keepdim=True),
        "normals": maps / maps.norm(dim=1, keepdim=True),
        "edges": maps[:, :1],
        "pose": maps,
        "style": torch.cat((torch.randn(40, 3), 0.5 + torch.rand(40, 3)), 1),
        "boxes": torch.cat((torch.randn(40, 6, 3), torch.rand(40, 6, 4)), 2),
    }[task]
    best = constant_loss(task, teacher, 1.0)
    for _ in range(50):
        constant = torch.randn_like(teacher[:1]).expand_as(teacher)
        assert compare(task, constant, teacher, 1.0)[0] > best
    assert compare(task, teacher, teacher, 1.0) == pytest.approx((0, 1), abs=1e-6)


def test_the_constant_loss_of_sure_answers_is_the_entropy_of_their_shares():
    """Of four classes one is never seen, and its probability is 0 in single precision."""
    teacher = 100 * torch.eye(4)[torch.arange(36) % 3]
    assert constant_loss("class", teacher, 0.25) == pytest.approx(math.log(3))


def kinds_of_guiders() -> list[str]:
    return [
        GuiderInfo("timm/net", "net", task, tuple("ab"), "0", answer).kind
        for task in TASKS
        for answer in TASKS[task].answers
    ]


def test_every_kind_of_guider_has_a_target_and_a_comparison():
    kinds = kinds_of_guiders()
    assert {target.task for task in TASKS.values() for target in task.targets} == set(TASKS)
    assert {loss_kind(kind, depth) for kind in kinds for depth in ("aligned", "mse")} == set(
        COMPARISONS
    )
    assert all(loss_kind(kind) == kind for kind in kinds)
    with pytest.raises(ValueError, match="cannot be trained for a guider that predicts gaze"):
        loss_kind("gaze")


def test_only_large_dense_answers_are_shrunk():
    assert downscale(torch.randn(2), "class").shape == (2,)
    assert downscale(torch.randn(2, 1000), "class").shape == (2, 1000)
    assert downscale(torch.randn(2, 5, 60, 64), "segmentation").shape == (2, 5, 60, 64)
    small = (2, 5, DENSE_SIDE // 2, DENSE_SIDE)
    assert downscale(torch.randn(2, 5, 128, 256), "segmentation").shape == small
    constant = torch.full((1, 100, 200), 3.0)
    torch.testing.assert_close(downscale(constant, "depth"), torch.full((1, 32, 64), 3.0))


def test_a_thin_edge_is_as_certain_at_the_size_that_is_compared():
    odds = torch.full((1, 1, 512, 512), -9.0)
    odds[..., 100] = 4.0
    small = downscale(odds, "edges")
    assert small[..., 12].unique().tolist() == [4.0] and (small > 0).float().mean() == 1 / 64
