"""Boxes: torchvision's overlaps, closed forms, scipy's divergence, sources read back."""

import math

import pytest
import torch
from scipy.special import rel_entr
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from ppap_core.distillation.losses import downscale
from ppap_core.pixels import image_to_bytes
from ppap_core.targets.box_lines import read_box_lines
from ppap_core.targets.box_sources import boxes_around, read_bounding_boxes
from ppap_core.targets.boxes import box_loss, giou, iou, to_centres, to_corners
from ppap_core.targets.boxes_drawing import class_colour
from ppap_core.targets.boxes_making import build_boxes_target
from ppap_core.targets.boxes_target import Box, BoxesTarget
from ppap_core.targets.map_target import Frame
from ppap_core.tasks import BOXES

LABELS = ("cat", "dog", "traffic light")
WANTED = (0.1, 0.2, 0.5, 0.8)


def answer(*queries, num=3):
    """(1, Q, num + 4) of (class, probability, corners): of the other classes it is sure as not."""
    rows = torch.full((1, len(queries), num + 4), -30.0)
    for q, (index, p, corners) in enumerate(queries):
        rows[0, q, index] = math.log(p / (1 - p))
        rows[0, q, -4:] = to_centres(torch.tensor(corners))
    return rows


def random_answers(num, seed, queries=8):
    found = torch.randn(num, queries, 7, generator=torch.manual_seed(seed))
    found[..., -4:] = found[..., -4:].sigmoid()
    return found


def test_overlaps_are_torchvisions():
    boxes = random_answers(2, 0)[..., -4:]
    a, b = to_corners(boxes)
    torch.testing.assert_close(a, box_convert(boxes[0], "cxcywh", "xyxy"))
    torch.testing.assert_close(to_centres(a), boxes[0])
    torch.testing.assert_close(iou(a[:, None], b), box_iou(a, b))
    torch.testing.assert_close(giou(a[:, None], b), generalized_box_iou(a, b))


def test_one_query_in_the_box_has_its_own_probability():
    target = BoxesTarget([[Box(0, WANTED)]], 3)
    assert target.log_likelihood(answer((0, 0.3, WANTED))).item() == pytest.approx(math.log(0.3))
    other = answer((1, 0.3, WANTED))
    assert target.log_likelihood(other).item() == pytest.approx(-30, rel=1e-4)


def test_a_query_beside_the_box_has_detrs_loss_and_counts_as_elsewhere():
    """4 by 6 tenths, moved by 2 to the right: half of it is outside."""
    beside = (0.3, 0.2, 0.7, 0.8)
    loss = 5 * 0.2 + 2 * (1 - (1 / 3 - 0))  # their hull is their union
    for outside in (0.0, 1.0, 0.5):
        target = BoxesTarget([[Box(0, WANTED)]], 3, outside)
        expected = math.log(0.6) - loss + outside * math.log(1 - 0.6 / 2)
        got = target.log_likelihood(answer((0, 0.6, beside)))
        assert got.item() == pytest.approx(expected, rel=1e-5)


def test_queries_share_a_box_and_boxes_have_weights():
    low, high = WANTED, (0.6, 0.6, 0.9, 0.9)
    seen = answer((0, 0.3, low), (0, 0.5, low), (2, 0.2, high))
    target = BoxesTarget([[Box(0, low, 1.0), Box(2, high, 3.0)]], 3)
    expected = (math.log(1 - 0.7 * 0.5) + 3 * math.log(0.2)) / 4
    assert target.log_likelihood(seen).item() == pytest.approx(expected, rel=1e-4)
    assert target.agreement(seen).item() == pytest.approx((0.5 + 3 * 0.2) / 4)


def test_the_surest_detection_elsewhere_decides():
    away = (0.6, 0.1, 0.9, 0.3)
    seen = answer((0, 0.9, WANTED), (0, 0.4, away), (0, 0.2, away), (1, 0.9, away))
    inside, both = (
        BoxesTarget([[Box(0, WANTED)]], 3, outside).log_likelihood(seen) for outside in (0, 1)
    )
    assert (both - inside).item() == pytest.approx(math.log(1 - 0.4), rel=1e-5)


@pytest.mark.parametrize(
    ("seen", "share"),
    [
        ((0.3, 0.2, 0.7, 0.8), 0.5),  # half of the object is in the box
        ((0.2, 0.3, 0.3, 0.4), 1.0),  # all of it
        ((0.0, 0.0, 1.0, 1.0), 1.0),  # it covers the box
        ((0.6, 0.2, 0.9, 0.8), 0.0),
    ],
)
def test_below_0_the_surest_object_in_the_box_decides(seen, share):
    """log(1 - p i), beside a wanted box with its weight; elsewhere such a class may be."""
    found = answer((0, 0.6, seen), (0, 0.1, WANTED), (1, 0.3, (0.6, 0.1, 0.9, 0.3)))
    p = max(0.6 * share, 0.1)
    alone = BoxesTarget([[Box(0, WANTED, -2.0)]], 3)
    assert alone.log_likelihood(found).item() == pytest.approx(math.log(1 - p), rel=1e-4)
    assert alone.agreement(found).item() == pytest.approx(1 - p)
    row = [Box(0, WANTED, -2.0), Box(1, (0.6, 0.1, 0.9, 0.3), 1.0)]
    both = BoxesTarget([row], 3)
    expected = (2 * math.log(1 - p) + math.log(0.3)) / 3
    assert both.log_likelihood(found).item() == pytest.approx(expected, rel=1e-4)
    assert both.agreement(found).item() == pytest.approx((2 * (1 - p) + 0.3) / 3)


def test_none_anywhere_is_shown_and_told():
    """The whole picture, however it is framed, with a cross through its middle."""
    text = "cat: -1\ndog: 0.1 0.1 0.4 0.4\nDog: .6 .6 .9 .9: 2"
    sources = [read_box_lines(text, LABELS, (400, 300))]
    made = build_boxes_target(LABELS, sources, 1.0, (400, 300), Frame(512, 512, "crop"))
    assert made.info.splitlines()[0] == "boxes for 1 picture: 2 dog and no cat"
    assert made.target.rows[0][0] == Box(0, (0.0, 0.0, 1.0, 1.0), -1.0)
    colour = torch.tensor(class_colour(0), dtype=torch.uint8)
    assert image_to_bytes(made.preview)[0, :, 256, 256].equal(colour)
    alone = build("cat: -1")
    assert alone.info == "boxes for 1 picture: no cat"
    told = alone.target.wording(LABELS).tell(0.2, 0.9)
    assert told == "the detector was 20 % sure of no cat in the picture, now 90 %"


def test_there_is_a_gradient_where_nothing_overlaps_and_all_is_unlikely():
    seen = answer((0, 1e-9, (0.9, 0.9, 0.95, 0.95)), (0, 1e-12, (0.0, 0.0, 0.01, 0.01)))
    seen[..., 0] -= 80  # exp of it underflows
    seen.requires_grad_(True)
    BoxesTarget([[Box(0, WANTED)]], 3).log_likelihood(seen).sum().backward()
    assert seen.grad.isfinite().all() and seen.grad[..., 0].sum() == pytest.approx(1, rel=1e-3)
    assert seen.grad[0, 0, -4] < 0 or seen.grad[0, 1, -4] > 0


def test_each_picture_has_its_own_row():
    rows = [[Box(0, WANTED)], [Box(1, WANTED), Box(2, (0.5, 0.5, 1.0, 1.0))]]
    seen = random_answers(2, 3)
    got = BoxesTarget(rows, 3).log_likelihood(seen)
    alone = [BoxesTarget([row], 3).log_likelihood(seen[k : k + 1]) for k, row in enumerate(rows)]
    torch.testing.assert_close(got, torch.cat(alone))


def test_agreement_needs_half_of_the_box_and_is_told():
    target = BoxesTarget([[Box(0, (0.0, 0.0, 1.0, 1.0))]], 3)
    seen = answer((0, 0.9, (0.0, 0.0, 1.0, 0.49)), (0, 0.04, (0.0, 0.0, 1.0, 0.51)))
    assert target.agreement(seen).item() == pytest.approx(0.04)
    told = target.wording(LABELS)
    assert told.tell(0.04, 0.93) == "the detector was 4.0 % sure of cat in the box, now 93 %"
    two = BoxesTarget([[Box(0, WANTED), Box(1, WANTED)]], 3).wording(LABELS)
    assert two.tell_live(0.04, 0.93) == "4.0 % -> 93 % sure of what is asked for in the boxes"


def test_loss_is_scipys_divergence_and_boxes_by_surety_in_any_order():
    teacher, student = random_answers(2, 0), random_answers(2, 1)
    student[..., -4:] = teacher[..., -4:] + 0.01  # so that the match is known
    student[..., :-4] = teacher[..., :-4] + 0.1 * student[..., :-4]
    p, q = (x[..., :-4].double().sigmoid().numpy() for x in (teacher, student))
    divergence = rel_entr(p, q).sum() + rel_entr(1 - p, 1 - q).sum()
    corners = [to_corners(x[..., -4:]) for x in (student, teacher)]
    boxes = (p.max(2) * box_loss(*corners).numpy()).sum()
    expected = (divergence + boxes) / 2
    comparison = BOXES.comparisons["log-odds"]
    shuffled = student[:, torch.randperm(8, generator=torch.manual_seed(2))]
    for order in (student, shuffled):
        assert comparison.loss(order, teacher).item() == pytest.approx(expected, rel=1e-4)
    assert comparison.loss(teacher, teacher).item() == pytest.approx(0, abs=1e-5)


def test_answers_of_many_queries_are_no_maps():
    answers = torch.randn(2, 300, 84)
    assert downscale(answers, "boxes").equal(answers)


def test_agreement_of_answers_is_the_share_of_detections_in_both():
    away = (0.6, 0.1, 0.9, 0.3)
    one = answer((0, 0.9, WANTED), (1, 0.8, away), (2, 0.4, away))
    other = answer((1, 0.6, WANTED), (1, 0.7, away), (0, 0.1, WANTED))
    agreement = BOXES.comparisons["log-odds"].agreement
    assert agreement(one, other).item() == pytest.approx(2 / 4)
    assert agreement(one, one).item() == agreement(one[:, 2:], one[:, 2:]).item() == 1


def test_lines_are_read_in_shares_and_pixels():
    text = "cat: 0.1 0.2 0.5 0.8\ntraffic light：64, 32, 128, 64 : 2\n---\n1: .5 .5 1 1"
    rows = read_box_lines(text, LABELS, (256, 128))
    assert [[found[:3] for found in row] for row in rows] == [
        [(0, WANTED, 1.0), (2, (0.25, 0.25, 0.5, 0.5), 2.0)],
        [(1, (0.5, 0.5, 1.0, 1.0), 1.0)],
    ]


def test_bounding_boxes_of_the_hosts_nodes_are_read():
    box = {"x": 64, "y": 32, "width": 64, "height": 32}
    expected = (0.25, 0.25, 0.5, 0.5)
    for value in (box, [box], [[box]]):
        ((found,),) = read_bounding_boxes(value, "dog", LABELS, (256, 128))
        assert found[:2] == (1, expected)
    named = [[box | {"label": "cat", "score": 0.4}], [box | {"metadata": {"desc": "dog"}}]]
    rows = read_bounding_boxes(named, "", LABELS, (256, 128))
    assert [row[0].index for row in rows] == [0, 1]


def test_a_mask_has_the_box_around_it():
    mask = torch.zeros(1, 40, 20)
    mask[0, 10:20, 5:15] = 1
    mask[0, 30, 2] = 0.4
    ((found,),) = boxes_around(mask, "cat", LABELS)
    assert found.corners == (0.25, 0.25, 0.75, 0.5)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_preview_shows_each_box_where_the_target_has_it(fit):
    """A square picture of a box in one of 400 x 300."""
    sources = [read_box_lines("dog: 100 60 300 240", LABELS, (400, 300))]
    made = build_boxes_target(LABELS, sources, 1.0, (400, 300), Frame(512, 512, fit))
    sides, low = {"pad": ((400, 400), (0, -50)), "crop": ((300, 300), (50, 0))}.get(
        fit, ((400, 300), (0, 0))
    )
    edges = torch.tensor([[100.0, 60], [300, 240]])
    expected = ((edges - torch.tensor(low)) / torch.tensor(sides)).flatten()
    ((box,),) = made.target.rows
    torch.testing.assert_close(torch.tensor(box.corners), expected)
    shown = image_to_bytes(made.preview[0])
    colour = torch.tensor(class_colour(1), dtype=torch.uint8)[:, None, None]
    rows, columns = (shown == colour).all(0).nonzero(as_tuple=True)
    seen = torch.stack((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) / 512
    assert (seen - expected).abs().max() < 2 / 512
    assert made.info == "boxes for 1 picture: 1 dog\nnone of these classes elsewhere"


def test_the_preview_stands_on_the_picture_of_the_boxes():
    sources = [read_box_lines("dog: 0.5 0.5 1 1", LABELS, (8, 8))]
    behind = torch.stack((torch.full((3, 8, 8), 1.0), torch.full((3, 8, 8), -1.0)))
    made = build_boxes_target(LABELS, sources, 0.0, (8, 8), Frame(), behind)
    assert image_to_bytes(made.preview)[0, :, 10, 10].tolist() == [102] * 3


def build(text="", value=None, mask=None, name="", size=(0, 0)):
    sources = [read_box_lines(text, LABELS, size)]
    if value is not None:
        sources.append(read_bounding_boxes(value, name, LABELS, size))
    if mask is not None:
        sources.append(boxes_around(mask, name, LABELS))
    return build_boxes_target(LABELS, sources, 1.0, size, Frame())


BOX = {"x": 0, "y": 0, "width": 10, "height": 10}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "has no box: write one into the widget boxes"),
        ({"text": "cat 0 0 1 1"}, "has a line 'cat 0 0 1 1': write class: left top"),
        ({"text": "cta: 0 0 1 1"}, "no class 'cta': did you mean 'cat'"),
        ({"text": "cat: 5 5 50 50"}, "in pixels, and the size of its picture is not known"),
        ({"text": "cat: 1.2 0 1.5 1", "size": (1, 1)}, "is outside the picture"),
        ({"text": "cat: 0.5 0 0.5 1"}, "is a line or a point of the picture"),
        ({"text": "cat: 0 0 1 1: 0"}, "has the weight 0: delete it"),
        ({"text": "cat: 0 0 1 1\n---"}, "picture 2 of the widget boxes has no line"),
        ({"value": []}, "the socket 'bboxes' has no box: lower"),
        ({"value": [[BOX], []], "name": "cat", "size": (20, 20)}, "picture 2 of the socket"),
        ({"value": 3}, "BOUNDING_BOX.* got a int"),
        ({"value": [{"x": 1}]}, "box 1 of the socket 'bboxes' is not like that"),
        ({"value": [BOX], "size": (20, 20)}, "has no label: write its class"),
        ({"mask": torch.zeros(1, 4, 4), "name": "cat"}, "mask 1 of the socket mask is empty"),
        ({"mask": torch.ones(1, 4, 4)}, "says where, but not what"),
        (
            {"text": "cat: 0 0 1 1\n---\ncat: 0 0 1 1", "mask": torch.ones(3, 4, 4), "name": "dog"},
            "for 2 and 3 pictures",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(given, line):
    with pytest.raises(ValueError, match=line) as caught:
        build(**given)
    assert "\n" not in str(caught.value)
