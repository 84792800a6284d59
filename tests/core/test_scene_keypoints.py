"""The demo's key points: camera rays traced back, drawn silhouettes, the shipped pose models."""

import pytest
import torch
import transformers

from demo.keypoints import project, scene_keypoints, silhouette_ends
from demo.paths import POSE_GUIDER
from demo.pose_models import load_pose_judge, pose_target
from demo.rays import camera_rays
from demo.scenes import random_parameters, render
from ppap_core.cut_outs import cut_out
from ppap_core.guiders import load_guider
from ppap_core.targets.cut_outs_target import CutOutsTarget


def test_a_point_on_a_pixels_ray_is_seen_at_that_pixel():
    size, p = 8, random_parameters(3, seed=5)
    height, aim = p["camera_height"][:, None], p["aim_height"][:, None]
    origin, ray = camera_rays(height, aim, size)
    for pixel in (0, 13, 63):
        point = origin + 4.2 * ray[:, :, pixel : pixel + 1]
        row, column = divmod(pixel, size)
        wanted = torch.tensor([(column + 0.5) / size, (row + 0.5) / size]).expand(3, 2)
        torch.testing.assert_close(project(point, height, aim), wanted)


def test_the_ends_are_the_middles_of_the_outermost_pixels():
    drawn = torch.zeros(1, 4, 8, dtype=torch.bool)
    drawn[0, 1, 2:5] = True  # its topmost row, of three pixels
    drawn[0, 2, 1:7] = True
    drawn[0, 3, 1] = True  # below the leftmost one
    top, left, right = silhouette_ends(drawn)
    assert top.tolist() == [[3.5 / 8, 1.5 / 4]]
    assert left.tolist() == [[1.5 / 8, 3.0 / 4]]
    assert right.tolist() == [[6.5 / 8, 2.5 / 4]]


@pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForPoseEstimation"),
    reason="this transformers has no pose models by task",
)
def test_the_shipped_judge_sees_them_and_so_does_the_guider_through_the_loader():
    image, target = render(20, seed=31).pictures(), pose_target(scene_keypoints(20, seed=31))
    with torch.no_grad():
        for model in (load_pose_judge(), load_guider(POSE_GUIDER)):
            assert target.agreement(model(image)).mean() > 0.85


@pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForPoseEstimation"),
    reason="this transformers has no pose models by task",
)
def test_a_small_object_is_read_better_in_its_box():
    """In the lower left quarter of a grey picture."""
    guider, truth = load_guider(POSE_GUIDER), scene_keypoints(20, seed=31)
    picture = torch.zeros(20, 3, 64, 64)
    picture[..., 32:, :32] = render(20, seed=31).pictures()
    whole = pose_target(truth / 2 + torch.tensor((0.0, 0.5)))
    boxed = CutOutsTarget((pose_target(truth),), torch.tensor([[[0.0, 0.5, 0.5, 1.0]]]))
    with torch.no_grad():
        in_box = guider(cut_out(picture, boxed.boxes, guider.preprocessing))
        assert boxed.agreement(in_box).mean() > 0.8
        assert whole.agreement(guider(picture)).mean() < 0.5
