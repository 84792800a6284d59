"""How many objects are asked for: of queries in closed form, of regions by drawing them."""

import pytest
import torch

from ppap_core.targets.count_target import DetectionCountTarget, RegionCountTarget


def detections(*probabilities, classes=3, index=1):
    """An answer (1, Q, K + 4) whose queries have these probabilities of class `index`."""
    answer = torch.zeros(1, len(probabilities), classes + 4)
    answer[0, :, :classes] = -9.0
    answer[0, :, index] = torch.tensor(probabilities).logit()
    return answer


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, 0.1), (1, 0.9 * 0.2), (2, 0.9 * 0.8 * 0.4), (4, 0.9 * 0.8 * 0.6 * 0.3)],
)
def test_the_surest_queries_are_objects_and_the_next_is_none(number, expected):
    answer, target = detections(0.3, 0.9, 0.6, 0.8), DetectionCountTarget(1, number, 3)
    torch.testing.assert_close(target.log_likelihood(answer).exp(), torch.tensor([expected]))
    assert target.count(answer).item() == 3 and target.agreement(answer).item() == 0


def test_the_gradient_moves_the_queries_that_decide():
    answer = detections(0.3, 0.9, 0.5, 0.8).requires_grad_()
    DetectionCountTarget(1, 2, 3).log_likelihood(answer).sum().backward()
    moved = answer.grad[0, :, 1]
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.1, -0.5, 0.2]))
    assert answer.grad[..., [0, 2, 3, 4, 5, 6]].abs().sum() == 0


def squares(*places, side=4, size=(32, 48)):
    """Logits (1, 3, H, W) that show class 2 in squares at these upper left corners."""
    logits = torch.zeros(1, 3, *size)
    logits[:, 0] = 1.0
    for top, left in places:
        logits[:, 2, top : top + side, left : left + side] = 2.0
    return logits


def test_regions_that_do_not_touch_are_counted():
    target = RegionCountTarget(2, 3, 3)
    far = squares((0, 0), (10, 10), (20, 40))
    touching = squares((0, 0), (4, 4), (20, 40))  # at their corners
    answers = torch.cat((far, touching, squares()))
    assert target.count(answers).tolist() == [3, 2, 0]
    assert target.log_likelihood(answers).tolist() == [0, -1, -3]
    assert target.agreement(answers).tolist() == [1, 0, 0]


def test_specks_are_no_objects():
    assert RegionCountTarget(2, 1, 3).count(squares((5, 5), side=2)).item() == 0  # 4 of 1536


@pytest.mark.parametrize("kind", [DetectionCountTarget, RegionCountTarget])
def test_what_cannot_be_asked_is_refused(kind):
    with pytest.raises(ValueError, match="class index 3 is out of range"):
        kind(3, 1, 3)
    with pytest.raises(ValueError, match="0 to 100, got 101"):
        kind(0, 101, 3)
    with pytest.raises(ValueError, match="connect the same guider to both nodes"):
        kind(0, 1, 3).log_likelihood(torch.zeros(1, 5, 9, 9))


def test_a_detector_with_too_few_queries_is_named():
    with pytest.raises(ValueError, match="finds 2 at most: lower the widget number"):
        DetectionCountTarget(1, 3, 3).log_likelihood(detections(0.1, 0.2))
