"""Targets for embeddings against numpy, their words, and the reading of what a user typed."""

from types import SimpleNamespace

import numpy
import pytest
import torch
from torch.nn import functional as F

from ppap_core.guidance import Guidance
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing
from ppap_core.guiders.words import Embedded
from ppap_core.targets.embedding_lines import build_embedding_target, parse_lines
from ppap_core.targets.embedding_target import EmbeddingTarget
from ppap_core.tasks import EMBEDDING

SCALE, BIAS = 20.0, -8.0


def units(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def target(weights, rows=1, **changes):
    weights = torch.tensor([weights] * rows)
    return EmbeddingTarget(units(rows, weights.shape[1], 6), weights, scale=SCALE, **changes)


def sigmoid(z):
    return 1 / (1 + numpy.exp(-z))


def test_log_likelihood_is_the_weighted_sum_of_the_logits():
    asked, answer = target([1.0, 2.0, -0.5]), units(4, 6, seed=1)
    logits = SCALE * answer.double().numpy() @ asked.embeddings[0].double().numpy().T
    expected = logits @ numpy.array([1.0, 2.0, -0.5])
    numpy.testing.assert_allclose(asked.log_likelihood(answer), expected, rtol=1e-5)
    cosines = logits / SCALE
    found = asked.agreement(answer)
    numpy.testing.assert_allclose(found, (cosines[:, 0] + 2 * cosines[:, 1]) / 3, rtol=1e-5)


def test_words_of_a_sigmoid_are_judged_by_it_and_pictures_by_their_cosine():
    weights = [1.0, -2.0, 0.5]
    asked, answer = target(weights, num_words=2, bias=BIAS), units(4, 6, seed=1)
    logits = SCALE * answer.double().numpy() @ asked.embeddings[0].double().numpy().T
    z = logits + BIAS
    expected = numpy.log(sigmoid(z[:, 0])) + 2 * numpy.log(1 - sigmoid(z[:, 1]))
    expected += 0.5 * logits[:, 2]
    numpy.testing.assert_allclose(asked.log_likelihood(answer), expected, rtol=1e-5)
    words = EmbeddingTarget(
        asked.embeddings[:, :2], asked.weights[:, :2], ("a", "b"), 2, SCALE, BIAS
    )
    expected = (sigmoid(z[:, 0]) + 1 - sigmoid(z[:, 1])) / 2
    numpy.testing.assert_allclose(words.agreement(answer), expected, rtol=1e-4)
    assert words.wording(()).tell_live(0.25, 0.5) == "25 % -> 50 % sure of a and no b"


def test_each_picture_may_have_its_own():
    asked, answer = target([1.0, -1.0], rows=3), units(3, 6, seed=1)
    alone = [
        EmbeddingTarget(e[None], w[None], scale=SCALE).log_likelihood(one[None])
        for e, w, one in zip(asked.embeddings, asked.weights, answer, strict=True)
    ]
    torch.testing.assert_close(asked.log_likelihood(answer), torch.cat(alone))
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        asked.log_likelihood(answer[:2])
    with pytest.raises(ValueError, match="for embeddings of 6 numbers, the guider answers"):
        asked.log_likelihood(units(3, 5))


def test_likeness_is_told_in_words():
    asked = target([1.0, -1.0], names=('"a {red} cone"', '"fog"'))
    wording = asked.wording(())
    assert wording.tell_live(0.21, 0.31) == '"a {red} cone": 0.21 -> 0.31 alike'
    assert wording.tell(0.2, 0.3) == ('the likeness to "a {red} cone" was 0.20, now 0.30 (cosine)')
    away = target([-1.0], names=('"fog"',))
    assert away.wording(()).tell_live(0.3, 0.2) == 'away from "fog": 0.30 -> 0.20 alike'
    answer = units(2, 6, seed=1)
    torch.testing.assert_close(away.agreement(answer), away.cosines(answer)[:, 0])


@pytest.mark.parametrize("weight", [0.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="a weight is a finite number other than 0"):
        target([1.0, weight])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a red cone", [("a red cone", 1.0)]),
        (" a  red cone : 2 \n\nfog:-1", [("a red cone", 2.0), ("fog", -1.0)]),
        ("雾：−０.５", [("雾", -0.5)]),
        ("style: oil painting", [("style: oil painting", 1.0)]),
        ("at 10:30:1,5", [("at 10:30", 1.5)]),
        ("version:1.2.3", [("version:1.2.3", 1.0)]),
        ("\n \n", []),
    ],
)
def test_lines_are_texts_with_weights(text, lines):
    assert parse_lines(text) == lines


@pytest.mark.parametrize(("line", "told"), [(":2", "but no text"), ("fog:0", "the weight 0")])
def test_a_line_without_text_or_weight_is_refused(line, told):
    with pytest.raises(ValueError, match=told):
        parse_lines(line)


class Letters:
    """Words of which each has a direction of its own."""

    scale, bias = SCALE, None

    def read(self, texts):
        return Embedded(torch.stack([torch.eye(6)["abcdef".index(text)] for text in texts]), {})


def guider(**parts):
    return SimpleNamespace(words=Letters(), info=SimpleNamespace(fingerprint="f"), **parts)


def test_lines_and_references_become_one_target():
    references = torch.eye(6)[4:]
    asked, info = build_embedding_target(guider(), "a:2\nb", "c", references, 0.5)
    assert torch.equal(asked.embeddings[0], torch.eye(6)[[0, 1, 2, 4, 5]])
    assert asked.weights.tolist() == [[2.0, 1.0, -1.0, 0.25, 0.25]] and asked.num_words == 3
    assert info.splitlines() == [
        'asks for "a" (weight 2), "b" and 2 reference pictures (weight 0.5)',
        'away from "c"',
    ]
    without, _ = build_embedding_target(guider(), "a", "", references, 0.0)
    assert without.weights.tolist() == [[1.0]] and without.made_for == "f"


def test_each_line_and_reference_may_be_for_one_picture():
    references = torch.eye(6)[4:]
    asked, _ = build_embedding_target(guider(), "a:2\nb", "c", references, 0.5, True)
    assert torch.equal(asked.embeddings, torch.eye(6)[torch.tensor([[0, 2, 4], [1, 2, 5]])])
    assert asked.weights.tolist() == [[2.0, -1.0, 0.5], [1.0, -1.0, 0.5]] and asked.num_words == 2
    with pytest.raises(ValueError, match="are for 2 and for 3 pictures: give as many lines as"):
        build_embedding_target(guider(), "a\nb\nc", "", references, 1.0, True)


@pytest.mark.parametrize("references", [None, torch.eye(6)[:1]])
def test_nothing_asked_for_is_refused(references):
    with pytest.raises(ValueError, match="nothing is asked for: write a line into the widget text"):
        build_embedding_target(guider(), " \n", "", references, 0.0)


def test_a_target_of_another_guider_is_refused():
    info = GuiderInfo("mine", "net", "embedding", (), "a" * 64)
    reads = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3)
    own = Guider(torch.nn.Linear(1, 1), reads, info)
    Guidance(own, target([1.0], made_for="a" * 64))
    with pytest.raises(ValueError, match="was made with another guider.*connect the same guider"):
        Guidance(own, target([1.0], made_for="b" * 64))


def test_experts_learn_directions():
    """1 - cosine is half a squared distance; no unit vector beats the mean direction."""
    (comparison,) = EMBEDDING.comparisons.values()
    answer, teacher = units(64, 6), units(64, 6, seed=1) + 0.5
    distance = (answer - F.normalize(teacher, dim=1)).square().sum(1)
    torch.testing.assert_close(comparison.loss(answer, teacher), distance.mean() / 2)
    constant = comparison.constant(teacher, 1.0)
    losses = [comparison.loss(c.expand_as(teacher), teacher).item() for c in units(500, 1, 6)]
    nearby = F.normalize(constant + 0.01 * units(500, 1, 6)[:, 0], dim=1)
    losses += [comparison.loss(c.expand_as(teacher), teacher).item() for c in nearby]
    assert comparison.loss(constant.expand_as(teacher), teacher).item() <= min(losses) + 1e-6


def test_pictures_agree_by_what_sets_them_apart():
    """Corners of a square far from 0: the right one, its neighbour, the opposite one."""
    (comparison,) = EMBEDDING.comparisons.values()
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) + 100
    for turn, agreement in enumerate((1.0, 0.0, -1.0)):
        found = comparison.agreement(corners.roll(turn, 0), corners)
        torch.testing.assert_close(found, torch.full((4,), agreement), atol=1e-4, rtol=0)
    assert comparison.agreement(corners[:1], corners[:1]).item() == pytest.approx(1)


def test_a_preview_asks_for_the_teachers_last_answers():
    answers = units(9, 6)
    preview = EMBEDDING.preview(SimpleNamespace(), answers, 3)
    assert preview.names == ["target 1", "target 2", "target 3"]
    torch.testing.assert_close(preview.target.agreement(answers[-3:]), torch.ones(3))
