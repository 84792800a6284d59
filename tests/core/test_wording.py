"""How far an answer meets its target, against numpy, and the words for it."""

import numpy
import pytest
import torch

from ppap_core.targets import ClassTarget, DepthTarget, SegmentationTarget
from ppap_core.targets.wording import percent

LABELS = ("tench, Tinca tinca", "cone", "torus", "crane")


def logits(*shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def softmax(values):
    powers = numpy.exp(values.double().numpy())
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ({1: 1.0}, lambda p: p[:, 1]),
        ({1: 2.0, 2: 0.5}, lambda p: p[:, 1] + p[:, 2]),
        ({1: 1.0, 3: -1.0}, lambda p: p[:, 1]),
        ({3: -1.0}, lambda p: 1 - p[:, 3]),
        ([{0: 1.0}, {2: 1.0}], lambda p: numpy.array([p[0, 0], p[1, 2]])),
    ],
)
def test_a_classifiers_agreement_is_its_probability_of_what_is_asked(classes, expected):
    """Whatever weights and temperature do to the log-likelihood."""
    answer = logits(2, 4)
    got = ClassTarget(classes, 4, temperature=7.0).agreement(answer)
    numpy.testing.assert_allclose(got.numpy(), expected(softmax(answer)), rtol=1e-5)


def test_a_taggers_agreement_is_the_mean_over_tags():
    answer = logits(3, 4)
    p = 1 / (1 + numpy.exp(-answer.double().numpy()))
    got = ClassTarget({0: 1.0, 2: -3.0}, 4, answer="sigmoid").agreement(answer)
    numpy.testing.assert_allclose(got.numpy(), (p[:, 0] + 1 - p[:, 2]) / 2, rtol=1e-5)


def test_depths_agreement_is_the_correlation_where_the_target_counts():
    wanted, seen = logits(2, 8, 8), logits(3, 8, 8)[1:]
    mask = torch.ones(8, 8)
    mask[:, 5:] = 0
    got = DepthTarget(wanted, mask).agreement(seen)
    for i in range(2):
        pair = wanted[i, :, :5].flatten().numpy(), seen[i, :, :5].flatten().numpy()
        assert got[i].item() == pytest.approx(numpy.corrcoef(*pair)[0, 1], abs=1e-5)
    assert DepthTarget(wanted, mask).agreement(torch.ones(2, 8, 8)).abs().max() == 0


def test_segmentations_agreement_is_the_share_of_pixels_as_asked():
    labels = torch.randint(-1, 4, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    answer = logits(2, 4, 8, 8)
    right = (answer.argmax(1) == labels) & (labels >= 0)
    expected = right.sum((1, 2)) / (labels >= 0).sum((1, 2))
    torch.testing.assert_close(SegmentationTarget(labels, 4).agreement(answer), expected)
    shared = SegmentationTarget(labels[0], 4).agreement(answer)
    torch.testing.assert_close(shared[0], expected[0])


@pytest.mark.parametrize(
    ("target", "first", "last", "sentence"),
    [
        (
            ClassTarget({1: 1.0}, 4),
            *(0.11, 0.9993),
            "the classifier was 11 % sure of cone, now over 99.9 %",
        ),
        (
            ClassTarget({0: 1.0, 2: 1.0, 3: -1.0}, 4),
            *(0.0321, 0.5),
            "the classifier was 3.2 % sure of tench or torus, now 50 %",
        ),
        (ClassTarget({3: -1.0}, 4), 0.5, 0.9, "the classifier was 50 % sure of no crane, now 90 %"),
        (
            ClassTarget([{0: 1.0}, {1: 1.0}], 4),
            *(0.25, 0.995),
            "the classifier was 25 % sure of the classes asked for, now 99.5 %",
        ),
        (
            ClassTarget({0: 1.0, 1: 1.0, 2: -1.0}, 4, answer="sigmoid"),
            *(0.4, 0.8),
            "the tagger was 40 % sure of tench, cone and no torus on average, now 80 %",
        ),
        (
            ClassTarget({0: 1.0}, 1, answer="sigmoid"),
            *(0.4, 0.8),
            "the classifier was 40 % sure of tench, now 80 %",
        ),
        (
            ClassTarget({1: 1.0}, 4, answer="score"),
            *(4.25, 6.5),
            "the score of cone was 4.25, now 6.50",
        ),
        (
            DepthTarget(torch.rand(4, 4)),
            *(0.62, 0.93),
            "depth agreed with the map by 0.62, now by 0.93 (correlation; 1 is the same map)",
        ),
        (
            SegmentationTarget(torch.ones(4, 4, dtype=torch.long), 4),
            *(0.4, 0.88),
            "40 % of the pixels were as asked, now 88 %",
        ),
    ],
)
def test_each_target_says_in_words_how_well_it_is_met(target, first, last, sentence):
    wording = target.wording(LABELS)
    assert wording.tell(first, last) == sentence
    live = wording.tell_live(first, last)
    assert wording.figure(first) in live and wording.figure(last) in live and len(live) < 70


@pytest.mark.parametrize("answer", ["softmax", "sigmoid", "score"])
@pytest.mark.parametrize("name", [":}", "{", "{}", "{cone}", ",_,"])
def test_any_name_of_a_class_can_be_told(name, answer):
    """Tags such as ":}" stopped a run at its last step: Single '}' encountered in format string."""
    wording = ClassTarget({1: 1.0}, 4, answer=answer).wording(("a", name, "b", "c"))
    for told in (wording.tell(0.25, 0.5), wording.tell_live(0.25, 0.5)):
        assert f" of {name}" in told and "{{" not in told and "}}" not in told
    assert wording.axis.endswith(f" of {name}")


def test_a_long_list_of_classes_is_cut():
    target = ClassTarget(dict.fromkeys(range(9), 1.0), 9)
    assert "sure of a, b, c or 6 more" in target.wording(tuple("abcdefghi")).tell(0.0, 1.0)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1e-5, "under 0.1 %"),
        (0.004, "0.4 %"),
        (0.11, "11 %"),
        (0.997, "99.7 %"),
        (0.99999, "over 99.9 %"),
        (1.0, "100 %"),
        (1.3, "130 %"),
    ],
)
def test_percentages_are_never_rounded_to_none_or_all(share, text):
    assert percent(share) == text
