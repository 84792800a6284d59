"""Segmentation targets against a loop over pixels."""

import numpy
import pytest
import torch

from ppap_core.targets import VOID, SegmentationTarget


def random_labels(*shape, classes=5, seed=0):
    return torch.randint(-1, classes, shape, generator=torch.Generator().manual_seed(seed))


def random_logits(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def mean_log_p(logits, labels, weight, temperature=1.0):
    """One picture, pixel by pixel of the map: the coarse pixel is the one at the same place."""
    logits = logits.double().numpy() / temperature
    log_p = logits - numpy.log(numpy.exp(logits).sum(axis=0, keepdims=True))
    _, h, w = logits.shape
    total = count = 0.0
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if (label := int(labels[y, x])) != VOID:
                value = log_p[label, int((y + 0.5) * h / height), int((x + 0.5) * w / width)]
                total += float(weight[y, x]) * value
                count += float(weight[y, x])
    return total / count


@pytest.mark.parametrize("size", [(8, 6), (16, 12), (12, 9), (9, 20)])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_likelihood_is_the_mean_over_pixels_of_the_map(size, temperature):
    labels, logits = random_labels(2, *size), random_logits(2, 5, 8, 6)
    mask = torch.rand(1, *size, generator=torch.Generator().manual_seed(2))
    target = SegmentationTarget(labels, 5, mask, temperature)
    expected = [mean_log_p(logits[i], labels[i], mask[0], temperature) for i in range(2)]
    got = target.log_likelihood(logits)
    assert got.dtype == torch.float32
    numpy.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_map_coarser_than_the_guider_repeats_its_pixels():
    labels, logits = random_labels(4, 3), random_logits(1, 5, 8, 6)
    repeated = labels.repeat_interleave(2, 0).repeat_interleave(2, 1)
    coarse, fine = (SegmentationTarget(m, 5).log_likelihood(logits) for m in (labels, repeated))
    torch.testing.assert_close(coarse, fine)


def test_resolution_does_not_matter():
    labels, logits = random_labels(8, 6), random_logits(1, 5, 8, 6)
    finer = logits.repeat_interleave(4, 2).repeat_interleave(4, 3)
    expected = SegmentationTarget(labels, 5).log_likelihood(logits)
    torch.testing.assert_close(SegmentationTarget(labels, 5).log_likelihood(finer), expected)


def test_one_pixel_wide_line_counts_in_the_log_likelihood():
    labels = torch.zeros(64, 64, dtype=torch.int64)
    labels[:, 13] = 1
    shares = SegmentationTarget(labels, 2).shares((8, 8))
    assert shares[0, 1].sum().item() == pytest.approx(1 / 64)
    assert (shares[0, 1, :, 1] > 0).all()


def test_gradient_is_target_share_minus_predicted_share():
    target = SegmentationTarget(random_labels(8, 8), 5)
    logits = random_logits(1, 5, 4, 4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(target.log_likelihood(logits).sum(), logits)
    shares = target.shares((4, 4))
    expected = shares - shares.sum(1, keepdim=True) * logits.detach().softmax(1)
    torch.testing.assert_close(gradient, expected)


def test_void_and_masked_pixels_get_no_gradient():
    labels = torch.full((8, 8), VOID)
    labels[:4] = 2
    mask = torch.ones(8, 8)
    mask[:2] = 0
    logits = random_logits(1, 5, 8, 8).requires_grad_(True)
    target = SegmentationTarget(labels, 5, mask)
    (gradient,) = torch.autograd.grad(target.log_likelihood(logits).sum(), logits)
    assert (gradient[:, :, :2] == 0).all() and (gradient[:, :, 4:] == 0).all()
    assert gradient[:, :, 2:4].abs().min() > 0


def test_a_picture_does_not_depend_on_its_neighbours():
    labels, logits = random_labels(3, 8, 8), random_logits(3, 5, 8, 8)
    together = SegmentationTarget(labels, 5).log_likelihood(logits)
    pairs = zip(labels, logits, strict=True)
    alone = [SegmentationTarget(m, 5).log_likelihood(p[None]) for m, p in pairs]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_target_made_in_inference_mode_takes_part_in_a_backward_pass():
    with torch.inference_mode():
        target = SegmentationTarget(random_labels(8, 8), 5)
        target.log_likelihood(random_logits(1, 5, 8, 8))
    logits = random_logits(1, 5, 8, 8).requires_grad_(True)
    target.log_likelihood(logits).sum().backward()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.full((4, 4), 7), 5), "asks for class 7, the guider knows 0 to 4"),
        ((torch.full((4, 4), -2), 5), "asks for class -2"),
        ((torch.full((4, 4), VOID), 5), "void wherever it counts"),
        ((torch.stack([torch.zeros(4, 4).long(), torch.full((4, 4), VOID)]), 5), "void wherever"),
        ((torch.zeros(4, 4).long(), 5, torch.zeros(4, 4)), "mask is empty"),
        ((torch.tensor([[0, -1]]), 5, torch.tensor([[0.0, 1.0]])), "void wherever it counts"),
        ((torch.zeros(4, 4).long(), 5, torch.ones(2, 2)), "differ in size"),
        ((torch.zeros(4, 4).long(), 5, None, 0.0), "temperature"),
        ((torch.zeros(4, 4), 5), "whole numbers"),
    ],
)
def test_an_impossible_target_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SegmentationTarget(*arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5), "connect a segmentation model"),
        ((2, 7, 8, 8), "made for 5 classes, the guider answers 7"),
        ((3, 5, 8, 8), "for 2 pictures, the batch has 3"),
    ],
)
def test_answer_of_the_wrong_shape_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        SegmentationTarget(random_labels(2, 8, 8), 5).log_likelihood(torch.zeros(shape))
