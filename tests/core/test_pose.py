"""Poses: closed forms, another package's divergence, OpenPose's order, previews read back."""

import json
import math

import numpy
import pytest
import torch
from scipy.stats import entropy

from ppap_core.guiders.pose_guider import COCO
from ppap_core.pixels import image_to_bytes
from ppap_core.targets.heatmaps import SHARPNESS, pixel_points, read_joints
from ppap_core.targets.joint_names import in_labels_order
from ppap_core.targets.keypoints import read_keypoints
from ppap_core.targets.map_target import Frame
from ppap_core.targets.people import People, choose
from ppap_core.targets.pose_drawing import joint_colour
from ppap_core.targets.pose_making import build_pose_target
from ppap_core.targets.pose_target import PoseTarget
from ppap_core.tasks import POSE

SIZE = (64, 48)  # ViTPose's heatmaps
# github.com/CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md, "COCO": which joint is where
BODY_18 = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee"
BODY_18 = f"{BODY_18} LAnkle REye LEye REar LEar".split()


def bump(x, y, width, size=SIZE):
    """A Gaussian of height 1 at (x, y) in [0, 1], `width` in pixels."""
    sides = torch.tensor((size[1], size[0]))
    off = (pixel_points(size) - torch.tensor((x, y))) * sides
    return (-off.square().sum(1) / (2 * width**2)).exp().view(1, 1, *size)


def target_at(x, y, **settings):
    return PoseTarget(torch.tensor([[[x, y]]]), torch.ones(1, 1), **settings)


def test_a_certain_heatmap_has_the_squared_distance():
    heatmaps = torch.zeros(1, 1, *SIZE)
    heatmaps[..., 20, 30] = 10.0
    away = ((30.5 - 0.25 * 48) ** 2 + (20.5 - 0.5 * 64) ** 2) / 64**2  # shares of the longer side
    got = target_at(0.25, 0.5, sigma=0.3).log_likelihood(heatmaps)
    assert got.item() == pytest.approx(-away / (2 * 0.3**2), rel=1e-4)
    assert target_at(30.5 / 48, 20.5 / 64).log_likelihood(heatmaps).item() == pytest.approx(0)


def test_a_gaussian_has_the_mass_of_two_gaussians_product():
    """Of densities with widths a and sigma: sigma^2 / v exp(-d^2 / 2v), v = a^2 + sigma^2."""
    size, a, sigma = (96, 72), 5 / 96, 0.06
    off = (pixel_points(size) - torch.tensor((0.5, 0.45))) * torch.tensor((0.75, 1.0))
    heatmaps = (-off.square().sum(1) / (2 * a**2)).view(1, 1, *size) / SHARPNESS
    v, d2 = a**2 + sigma**2, (0.1 * 0.75) ** 2 + 0.05**2
    expected = math.log(sigma**2 / v) - d2 / (2 * v)
    got = target_at(0.6, 0.5, sigma=sigma).log_likelihood(heatmaps)
    assert got.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.333, 0.71), (0.04, 0.9)])
def test_peaks_are_read_between_pixels(place):
    joints = read_joints(0.8 * bump(*place, width=2.0))
    off = (joints.points[0, 0] - torch.tensor(place)) * torch.tensor((48, 64))
    assert off.abs().max() < 0.12 and joints.scores.item() == pytest.approx(0.8, abs=0.05)


def test_agreement_is_the_share_of_joints_within_a_tenth_of_the_box():
    """The box is 0.8 high: 0.08 of the height is near enough, which are 5.1 pixels."""
    points = torch.tensor([[[0.5, 0.1], [0.5, 0.5], [0.5, 0.9], [0.1, 0.1]]])
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    seen = [(0.5, 0.1), (0.5, 0.5 + 4.5 / 64), (0.5, 0.9 - 6 / 64), (0.9, 0.9)]
    heatmaps = torch.cat([bump(*place, width=2.0) for place in seen], 1)
    target = PoseTarget(points, weights)
    assert target.agreement(heatmaps).item() == pytest.approx(2 / 3)
    wording = target.wording(COCO)
    assert wording.tell_live(0.2, 0.9) == "joints as asked: 20 % -> 90 %"


def test_joints_that_are_not_visible_ask_for_nothing():
    heatmaps = torch.randn(2, 3, *SIZE, requires_grad=True)
    target = PoseTarget(torch.rand(2, 3, 2), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    target.log_likelihood(heatmaps).sum().backward()
    used = heatmaps.grad.abs().amax((2, 3)) > 0
    assert used.tolist() == [[True, False, True], [True, False, False]]


def test_loss_is_scipys_divergence_and_the_constant_has_least():
    answer, teacher = (torch.rand(3, 2, 6, 5, generator=torch.manual_seed(s)) for s in (0, 1))
    shares = [(SHARPNESS * x.double().flatten(2)).softmax(2).numpy() for x in (answer, teacher)]
    comparison = POSE.comparisons["heatmap"]
    expected = entropy(shares[1], shares[0], axis=2).mean()
    assert comparison.loss(answer, teacher).item() == pytest.approx(expected, rel=1e-4)
    constant = comparison.constant(teacher, 1.0).expand_as(teacher)
    mean = numpy.broadcast_to(shares[1].mean(0, keepdims=True), shares[1].shape)
    least = entropy(shares[1], mean, axis=2).mean()
    assert comparison.loss(constant, teacher).item() == pytest.approx(least, rel=1e-4)
    assert comparison.agreement(teacher, teacher).tolist() == [1.0] * 3


def person(x=100.0, scale=1.0, sure=0.9):
    """Keypoints whose places say which joint they are: joint k is at (x + 9 k, 20 + 7 k)."""
    return [v for k in range(18) for v in (x + 9 * k * scale, 20 + 7 * k * scale, sure)]


def frame(*people, size=(400, 300)):
    people = [{"pose_keypoints_2d": flat, "face_keypoints_2d": None} for flat in people]
    return {"canvas_width": size[0], "canvas_height": size[1], "people": people}


def chosen(value, person=1, confidence=0.3):
    return choose(read_keypoints(value), person, confidence, "keypoints")


def test_openpose_joints_find_their_names():
    people = in_labels_order(chosen([frame(person())]), COCO)
    points = people.points[0, 0] * torch.tensor(people.sizes[0])
    for name, (x, y) in zip(COCO, points.tolist(), strict=True):
        side, _, part = name.rpartition(" ")
        k = BODY_18.index(side[:1].upper() + part.capitalize())
        assert (x, y) == pytest.approx((100 + 9 * k, 20 + 7 * k), abs=1e-3), name
    assert people.notes == ("keypoints has 1 person in a picture: number 1 by size is asked for",)


def test_coordinates_in_0_to_1_are_the_same():
    """One joint lies outside the picture, at 1.1325 of the width."""
    pixels = person(300)
    shares = [v / (400, 300, 1)[i % 3] for i, v in enumerate(pixels)]
    one, other = (read_keypoints([frame(p)]) for p in (pixels, shares))
    torch.testing.assert_close(one.points, other.points)


def test_a_saved_pose_is_read_as_text():
    frames = [frame(person()), frame(person(50))]
    for value in (frames, frames[0]):
        kept, saved = read_keypoints(value), read_keypoints(json.dumps(value))
        assert saved.sizes == kept.sizes and saved.points.equal(kept.points)


@pytest.mark.parametrize(("asked", "xs"), [(0, (50, 10)), (1, (50,)), (2, (10,))])
def test_the_largest_person_comes_first(asked, xs):
    people = chosen([frame(person(10, scale=0.5), person(50))], asked)
    assert (people.points[0, :, 0, 0] * 400).tolist() == pytest.approx(xs)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_preview_shows_each_joint_where_the_target_has_it(fit):
    """A square picture of a pose of 400 x 300; "crop" cuts off all beyond 350, an ear."""
    people = chosen([frame(person(200))])
    made = build_pose_target(COCO, people, 0.3, Frame(512, 512, fit), (64, 48)).shown
    places = in_labels_order(people, COCO).points[0, 0] * torch.tensor((400.0, 300.0))
    sides, low = {"pad": ((400, 400), (0, -50)), "crop": ((300, 300), (50, 0))}.get(
        fit, ((400, 300), (0, 0))
    )
    expected = (places - torch.tensor(low)) / torch.tensor(sides)
    inside = ((expected >= 0) & (expected <= 1)).all(1)
    in_box, box = made.target.targets[0], made.target.boxes[0, 0]
    assert in_box.weights[0].bool().equal(inside)
    assert int(inside.sum()) == 17 - (fit == "crop")
    points = box[:2] + in_box.points[0] * (box[2:] - box[:2])
    torch.testing.assert_close(points[inside], expected[inside])
    shown = image_to_bytes(made.preview[0])
    for index in inside.nonzero()[:, 0].tolist():
        colour = torch.tensor(joint_colour(index, 17), dtype=torch.uint8)[:, None, None]
        rows, columns = (shown == colour).all(0).nonzero(as_tuple=True)
        seen = torch.stack((columns, rows), 1).float().mean(0) + 0.5
        sides = torch.tensor((shown.shape[2], shown.shape[1]))
        assert (seen - expected[index] * sides).abs().max() < 2, COCO[index]


def test_unsure_joints_and_those_outside_ask_for_nothing():
    points = torch.tensor([[[[0.1, 0.1], [1.2, 0.5], [0.9, 0.9], [0.4, 0.4]]]])
    people = People(tuple("abcd"), points, torch.tensor([[[1, 1, 1, 0.2]]]), [(100, 100)])
    made = build_pose_target(tuple("abcd"), people, 0.3, Frame(), (64, 48)).shown
    assert made.target.weights.tolist() == [[1.0, 0.0, 1.0, 0.0]]  # the whole picture
    assert made.info == "pose target for 1 picture: 2 of 4 joints\nnot asked for: b and d"


@pytest.mark.parametrize(
    ("value", "asked", "line"),
    [
        ([], 0, "OpenPose's format: frames .* it got no frames: connect a pose detector"),
        (7, 0, "it got a int"),
        ("{}", 0, "its frame 1 is not like that"),
        ("a text", 0, "or as JSON; it got a text that is none: Expecting value"),
        ([{"people": []}], 0, "its frame 1 is not like that"),
        (
            [frame([1.0, 2.0])],
            0,
            r"of 18 joints \(x, y, confidence\); its frame 1 is not like that",
        ),
        ([frame(person(math.nan))], 0, "its frame 1 is not like that"),
        ([frame(person(), size=(0, 9))], 0, "its frame 1 is not like that"),
        ([frame(person()), frame()], 0, "'keypoints' has no person in frame 2"),
        ([frame(person())], 2, "widget person is 2, but picture 1 of .* has 1 person: choose 1"),
    ],
)
def test_bad_keypoints_are_refused_in_one_line(value, asked, line):
    with pytest.raises(ValueError, match=line) as error:
        chosen(value, asked)
    assert "\n" not in str(error.value)


def test_what_asks_for_nothing_is_refused():
    people = read_keypoints([frame(person(sure=0.2))])
    line = r"picture 1 has no joint .* 0.3 sure \(the highest is 0.2\): lower the widget confidence"
    with pytest.raises(ValueError, match=line):
        build_pose_target(COCO, people, 0.3, Frame(), (64, 48))
    with pytest.raises(ValueError, match="knows no joint of the socket keypoints .it knows tail"):
        in_labels_order(people, ("tail", "paw"))
    with pytest.raises(ValueError, match="made for heatmaps .B, 1, h, w.*connect the same guider"):
        target_at(0.5, 0.5).log_likelihood(torch.zeros(1, 2, 4, 4))
