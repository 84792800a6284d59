"""Class log-likelihoods against numpy, and the reading of what a user typed."""

import numpy
import pytest
import torch

from ppap_core.targets import ClassTarget, find_class, parse_class_rows, parse_classes
from ppap_core.targets.class_search import list_classes

LABELS = ("tench, Tinca tinca", "goldfish, Carassius auratus", "cone", "torus", "crane")


def softmax(logits, temperature):
    exp = numpy.exp(numpy.asarray(logits, dtype=numpy.float64) / temperature)
    return exp / exp.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("classes", [{2: 1.0}, {0: 1.0, 3: 1.0}, {4: 2.0, 1: 0.5}, {1: 1, 2: 3}])
def test_log_likelihood_is_the_log_of_the_weighted_probability(classes, temperature):
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 2
    p = softmax(logits.numpy(), temperature)
    total = sum(classes.values())
    expected = numpy.log(sum(p[:, k] * weight / total for k, weight in classes.items()))
    got = ClassTarget(classes, 5, temperature).log_likelihood(logits)
    numpy.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


def test_negative_weight_adds_log_one_minus_probability():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 2
    p = softmax(logits.numpy(), 1.0)
    away = 2 * numpy.log(1 - p[:, 3]) + 0.5 * numpy.log(1 - p[:, 4])
    got = ClassTarget({0: 1.0, 1: 3.0, 3: -2.0, 4: -0.5}, 5).log_likelihood(logits)
    mixture = numpy.log(0.25 * p[:, 0] + 0.75 * p[:, 1])
    numpy.testing.assert_allclose(got, mixture + away, rtol=1e-5)
    got = ClassTarget({3: -2.0, 4: -0.5}, 5).log_likelihood(logits)
    numpy.testing.assert_allclose(got, away, rtol=1e-5)


def test_negative_weight_is_finite_and_has_gradient_at_certainty():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    got = ClassTarget({0: -1.0}, 3).log_likelihood(logits)
    torch.testing.assert_close(got.detach(), torch.tensor([2.0]).log() - 200)  # log(2 e^-200)
    (gradient,) = torch.autograd.grad(got.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 0.5, 0.5]]))


def test_each_picture_of_a_batch_may_have_its_own_classes():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    rows = [{0: 1.0}, {1: 1.0, 2: 2.0}, {3: 1.0, 4: -1.0}]
    got = ClassTarget(rows, 5).log_likelihood(logits)
    alone = [ClassTarget(row, 5).log_likelihood(logits[i : i + 1]) for i, row in enumerate(rows)]
    assert torch.equal(got, torch.cat(alone))


def test_a_batch_of_another_size_than_the_target_is_refused():
    with pytest.raises(ValueError, match="the target is for 2 pictures, the batch has 3"):
        ClassTarget([{0: 1.0}, {1: 1.0}], 5).log_likelihood(torch.zeros(3, 5))


def test_class_target_refuses_a_map_answer():
    with pytest.raises(ValueError, match=r"reads logits \(B, K\), the guider answers \(1, 5, 8, 8"):
        ClassTarget({0: 1.0}, 5).log_likelihood(torch.zeros(1, 5, 8, 8))


def test_half_precision_logits_are_read_in_float32():
    logits = torch.tensor([[0.0, 20.0, 4.0]]).half()
    got = ClassTarget({0: 1.0}, 3).log_likelihood(logits)
    assert got.dtype == torch.float32
    numpy.testing.assert_allclose(got, numpy.log(softmax(logits.numpy(), 1.0)[:, 0]), rtol=1e-6)


def test_extreme_logits_stay_finite():
    got = ClassTarget({0: 1.0, 1: 1.0}, 2).log_likelihood(torch.tensor([[1e4, -1e4]]))
    torch.testing.assert_close(got, torch.tensor([0.5]).log())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, 5), "no target class"),
        (({5: 1.0}, 5), "class index 5 is out of range: the guider knows 0 to 4"),
        (({-1: 1.0}, 5), "out of range"),
        (({0: 0.0}, 5), "weight of class 0"),
        (([{1: 1.0}, {}], 5), "no target class"),
        (([], 5), "no target class"),
        (({0: -1.0}, 1), "one class only"),
        (({0: float("nan")}, 5), "weight of class 0"),
        (({0: float("inf")}, 5), "weight of class 0"),
        (({0: 1.0}, 5, 0.0), "temperature"),
        (({0: 1.0}, 5, -1.0), "temperature"),
    ],
)
def test_an_impossible_target_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassTarget(*arguments)


def test_answer_with_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="made for 5 classes, the guider answers 7"):
        ClassTarget({0: 1.0}, 5).log_likelihood(torch.zeros(1, 7))


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("cone", {2: 1.0}),
        ("  CONE ", {2: 1.0}),
        ("3", {3: 1.0}),
        ("cone:2, torus", {2: 2.0, 3: 1.0}),
        ("cone:2, torus:0.5", {2: 2.0, 3: 0.5}),
        ("cone, 4", {2: 1.0, 4: 1.0}),
        ("cone\ntorus:3", {2: 1.0, 3: 3.0}),
        ("cone; torus", {2: 1.0, 3: 1.0}),
        ("cone, cone", {2: 2.0}),
        ("tench, Tinca tinca", {0: 1.0}),
        ("tench, Tinca tinca:2", {0: 2.0}),
        ("tench, Tinca tinca\ncone:2", {0: 1.0, 2: 2.0}),
        ("tinca tinca", {0: 1.0}),
        ("tench:2, goldfish", {0: 2.0, 1: 1.0}),
        ("tench, Tinca tinca, cone", {0: 1.0, 2: 1.0}),
        ("cone, Tinca tinca, tench:3, torus", {0: 3.0, 2: 1.0, 3: 1.0}),
        ("goldfish, Carassius auratus, tench, Tinca tinca", {0: 1.0, 1: 1.0}),
        ("tench, goldfish", {0: 1.0, 1: 1.0}),
        ("cone, torus:-1", {2: 1.0, 3: -1.0}),
    ],
)
def test_classes_are_read_by_name_number_and_weight(text, classes):
    assert parse_classes(text, LABELS) == classes


def test_label_with_a_colon_is_found():
    assert parse_classes("ratio 1:2, thin", ("ratio 1:2, thin", "thick")) == {0: 1.0}


def test_consecutive_synonyms_name_one_class():
    labels = ("maillot", "maillot, tank suit", "shark, white shark, man-eater")
    assert parse_classes("maillot, tank suit", labels) == {1: 1.0}
    assert parse_classes("shark, man-eater, maillot", labels) == {2: 1.0, 0: 1.0}


SHARED = (
    ("crane", None),
    ("Panda", None),
    ("wagon:2, cone", None),
    ("lesser panda", {1: 1.0}),
    ("cat bear", {1: 1.0}),
    ("giant panda, panda", {2: 1.0}),
    ("tub", {4: 1.0}),  # its own first name, not another's synonym
    ("horn", {5: 1.0}),
    ("0", {0: 1.0}),
)


@pytest.mark.parametrize(("text", "expected"), SHARED)
def test_a_name_that_several_classes_share_is_not_guessed(text, expected):
    """As timm's names of ImageNet are: silently the first one would be taken."""
    labels = (
        *("crane", "lesser panda, panda, cat bear", "giant panda, panda", "bathtub, tub"),
        *("tub, vat", "horn", "cornet, horn", "station wagon, wagon", "police van, wagon"),
        *("crane", "cone"),
    )
    if expected is not None:
        assert parse_classes(text, labels) == expected
        return
    with pytest.raises(ValueError, match="2 of the guider's classes are called") as raised:
        parse_classes(text, labels)
    assert "Write the number of the one you mean" in str(raised.value)


def test_what_guider_classes_lists_names_the_same_classes():
    """Its output goes into Target Class, also where two classes have one label."""
    labels = ("crane", "crane, machine", "crane", "frame")
    assert parse_classes(list_classes("crane", labels)[0], labels) == {0: 1.0, 1: 1.0, 2: 1.0}


def test_each_line_can_be_for_one_picture():
    assert parse_class_rows("cone\n\ntorus:2, crane:-1\n", LABELS) == [
        {2: 1.0},
        {3: 2.0, 4: -1.0},
    ]


def test_numeric_label_is_preferred_to_an_index():
    assert find_class("1", ("1", "0")) == 0


def test_unknown_class_name_error_lists_the_nearest_names():
    with pytest.raises(ValueError, match="no class 'Taurus': did you mean 'torus'"):
        parse_classes("Taurus", LABELS)


def test_unknown_class_name_without_near_ones_lists_some_labels():
    with pytest.raises(ValueError, match="'xyzzy': it knows 5 classes: tench"):
        parse_classes("xyzzy", LABELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "class index 5 is out of range: the guider knows 0 to 4"),
        ("-1", "no class '-1'"),
        ("", "no target class given"),
        (" ,\n", "no target class given"),
        ("cone:heavy", "'cone:heavy': after the colon stands a weight"),
    ],
)
def test_unreadable_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_classes(text, LABELS)
