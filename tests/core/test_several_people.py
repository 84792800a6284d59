"""Several people, hands and heads: OpenPose's own lists, closed forms, a world with two objects."""

import json

import pytest
import torch

from ppap_core.guiders.pose_guider import COCO
from ppap_core.targets.cut_outs_target import CutOutsTarget
from ppap_core.targets.joint_names import common_name, in_labels_order
from ppap_core.targets.keypoints import read_keypoints
from ppap_core.targets.map_target import Frame
from ppap_core.targets.people import choose
from ppap_core.targets.pose_boxes import person_boxes
from ppap_core.targets.pose_making import build_pose_target
from ppap_core.targets.pose_target import PoseTarget

READS = (64, 48)
# BODY_18 of OpenPose: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
STANDING = [
    *((50, 20), (50, 40), (35, 40), (25, 60), (20, 80), (65, 40), (75, 60), (80, 80)),
    *((42, 90), (42, 130), (42, 170), (58, 90), (58, 130), (58, 170)),
    *((46, 16), (54, 16), (40, 18), (60, 18)),
]


def numbers(points, sure=0.9):
    return [float(v) for x, y in points for v in (x, y, sure)]


def person(dx=0, dy=0, scale=1.0, **lists):
    """As OpenPose writes it; `lists`: of hands, face and feet."""
    points = [(dx + scale * x, dy + scale * y) for x, y in STANDING]
    return {"pose_keypoints_2d": numbers(points)} | lists


def frames(*pictures, size=(400, 200)):
    return [
        {"people": list(people), "canvas_width": size[0], "canvas_height": size[1]}
        for people in pictures
    ]


def made(value, who=0, region="whole picture"):
    people = choose(read_keypoints(value), who, 0.3, "keypoints")
    return build_pose_target(COCO, people, 0.3, Frame(), READS, region)


def pixels(box, size=(400, 200)):
    return [float(v) * side for v, side in zip(box, (*size, *size), strict=True)]


def test_json_of_two_people_asks_for_both_in_their_boxes():
    value = json.dumps(frames([person(), person(200, scale=0.5)])[0])
    target, preview, info = made(value).shown
    assert info == (
        "pose target for 1 picture: 2 people, 34 joints\n"
        "keypoints has 2 people in a picture: everyone is asked for\n"
        "the guider reads the box around each person"
    )
    # 20 to 80 and 16 to 170, times 1.25, in proportions 48 : 64
    height = 1.25 * 154
    middle = 50, 93
    expected = [middle[0] - 0.375 * height, middle[1] - 0.5 * height]
    expected += [middle[0] + 0.375 * height, middle[1] + 0.5 * height]
    assert pixels(target.boxes[0, 0]) == pytest.approx(expected, abs=1e-3)
    half = [200 + expected[0] / 2, expected[1] / 2, 200 + expected[2] / 2, expected[3] / 2]
    assert pixels(target.boxes[0, 1]) == pytest.approx(half, abs=1e-3)
    both = [inner.points[0] for inner in target.targets]
    torch.testing.assert_close(both[0], both[1])  # the same pose, of another size
    nose = (50 - expected[0]) / (0.75 * height), (20 - expected[1]) / height
    assert both[0][0].tolist() == pytest.approx(nose, abs=1e-5)
    assert preview.shape == (1, 3, 256, 512)


@pytest.mark.parametrize(("who", "middle"), [(1, 50), (2, 225)])
def test_one_of_two_people_is_asked_for_alone(who, middle):
    target = made(frames([person(200, scale=0.5), person()]), who).shown.target
    left, _, right, _ = pixels(target.boxes[0, 0])
    assert target.boxes.shape == (1, 1, 4) and (left + right) / 2 == pytest.approx(middle)


def test_a_person_who_fills_half_of_the_picture_is_read_from_the_whole():
    value = frames([person()], size=(160, 200))
    target = made(value).shown.target
    assert isinstance(target, PoseTarget)
    assert target.points[0, 0].tolist() == pytest.approx((50 / 160, 20 / 200))
    assert isinstance(made(frames([person()])).shown.target, CutOutsTarget)


def test_pictures_may_have_different_numbers_of_people():
    target, _, info = made(frames([person()], [person(), person(200)])).shown
    assert info.startswith("pose target for 2 pictures: 1, 2 people, 17, 34 joints")
    assert target.weights.tolist() == [[1, 0], [1, 1]] and target.num_rows == 2
    assert target.boxes[0, 1].equal(target.boxes[0, 0])  # counts nothing
    with pytest.raises(ValueError, match="widget person is 2, but picture 1 .* has 1 person"):
        made(frames([person()], [person(), person(200)]), 2)


def test_the_box_around_one_joint_is_a_tenth_of_the_picture():
    points, asked = torch.tensor([[[[0.5, 0.5], [0.9, 0.9]]]]), torch.tensor([[[True, False]]])
    box = person_boxes(points, asked, torch.tensor([[400.0, 200.0]]), READS)[0, 0]
    assert pixels(box) == pytest.approx([180, 100 - 80 / 3, 220, 100 + 80 / 3], abs=1e-3)


def test_hands_are_where_openpose_looks_for_them():
    """0.33 of the forearm beyond the wrist; 1.5 times the longer of both halves of the arm."""
    mask = made(frames([person()]), region="hands").region
    forearm, upper = (5**2 + 20**2) ** 0.5, 0.9 * (10**2 + 20**2) ** 0.5
    side = 1.5 * max(forearm, upper)
    assert mask.shape == (1, 256, 512) and set(mask.unique().tolist()) == {0.0, 1.0}
    for wrist, elbow in ((20, 25), (80, 75)):
        x, y = wrist + 0.33 * (wrist - elbow), 80 + 0.33 * 20
        low, high = max(0.0, x - side / 2), x + side / 2
        row = mask[0, round(y * 1.28)].nonzero()[:, 0] / 1.28
        own = row[(row > 50) == (wrist > 50)]
        assert own.min().item() == pytest.approx(low, abs=1.5)
        assert own.max().item() == pytest.approx(high, abs=1.5)


def test_points_of_a_hand_and_a_face_say_where_they_are():
    hand = [(300 + k, 100 + 2 * k) for k in range(21)]
    face = [(150 + k, 40 + k % 9) for k in range(70)]
    lists = {"hand_left_keypoints_2d": numbers(hand), "face_keypoints_2d": numbers(face)}
    value = frames([person(**lists)])
    shown = made(value, region="hands").region[0]
    columns = shown[round(120 * 1.28)].nonzero()[:, 0] / 1.28  # the other hand is at 80
    assert columns.min().item() == pytest.approx(310 - 15, abs=1)
    assert columns.max().item() == pytest.approx(310 + 15, abs=1)
    heads = made(value, region="heads").region[0].any(0).nonzero()[:, 0] / 1.28
    assert heads.min().item() == pytest.approx(183.5 - 0.75 * 67, abs=1)
    line = "the guider does not know the joints of left hand, face"
    assert line in made(value).shown.info.splitlines()


def test_a_head_is_the_mean_of_openposes_three_rules():
    mask = made(frames([person()]), region="heads").region[0]
    side = (3 * 8 + 2 * 20 + 2 * 20) / 3
    rows, columns = mask.any(1).nonzero()[:, 0] / 1.28, mask.any(0).nonzero()[:, 0] / 1.28
    assert columns.min().item() == pytest.approx(50 - side / 2, abs=1)
    assert columns.max().item() == pytest.approx(50 + side / 2, abs=1)
    assert rows.max().item() == pytest.approx(17.6 + side / 2, abs=1)


def test_people_are_the_boxes_of_their_joints_and_the_whole_is_all():
    mask = made(frames([person(), person(200)]), region="people").region[0]
    columns = mask[100].nonzero()[:, 0] / 1.28
    for middle in (50, 250):
        own = columns[(columns - middle).abs() < 100]
        assert own.min().item() == pytest.approx(middle - 37.5, abs=1)
        assert own.max().item() == pytest.approx(middle + 37.5, abs=1)
    assert made(frames([person()])).region.min() == 1


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("right thumb4", "right thumb4"),  # goliath.py of Sapiens, as its first joints are called
        ("left forefinger third joint", "left forefinger1"),
        ("right pinky finger2", "right pinky finger2"),
        ("left index tip", "left forefinger4"),  # as the same joints are called elsewhere
        ("left middle first joint", "left middle finger3"),
        ("right big toe tip", "right big toe"),
        ("left knee", "left knee"),
        ("right hand root", "right hand root"),
    ],
)
def test_fingers_of_guiders_are_openposes(label, name):
    assert common_name(label) == name
    assert name in read_keypoints(frames([person()])).names


def test_a_guider_that_knows_hands_is_asked_for_them():
    hand = numbers([(300 + k, 100 + 2 * k) for k in range(21)])
    value = frames([person(hand_right_keypoints_2d=hand, foot_keypoints_2d=None)])
    labels = ("right wrist", "right index tip", "right hand root", "left pinky finger4")
    people = in_labels_order(read_keypoints(value), labels)
    assert people.scores[0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9, 0.0])
    places = people.points[0, 0, 1:3] * torch.tensor((400.0, 200.0))
    assert places.tolist() == [[308.0, 116.0], [300.0, 100.0]]  # points 8 and 0
    assert people.notes == ()


@pytest.mark.parametrize(
    ("lists", "region", "line"),
    [
        ({"hand_left_keypoints_2d": [1.0] * 9}, "hands", "its frame 1 is not like that"),
        ({}, "feet", "widget region is one of whole picture, people, heads, hands, got 'feet'"),
    ],
)
def test_what_is_not_there_is_refused(lists, region, line):
    with pytest.raises(ValueError, match=line):
        made(frames([person(**lists)]), region=region)


def test_a_region_that_a_picture_lacks_is_refused():
    legs = person()
    legs["pose_keypoints_2d"] = numbers(STANDING)
    for k in (*range(8), *range(14, 18)):
        legs["pose_keypoints_2d"][3 * k + 2] = 0.0
    for region, part in (("hands", "no hand, or arm"), ("heads", "no face, pair of eyes")):
        line = f"widget region is {region}, but picture 2 has {part} .* 0.3 sure: lower"
        with pytest.raises(ValueError, match=line) as error:
            made(frames([person()], [legs]), region=region)
        assert "\n" not in str(error.value)
