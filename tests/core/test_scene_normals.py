"""The demo's exact normals against closed forms: the floor, the wall, a sphere, and its depth."""

import torch
import transformers

from demo.normals import scene_normals, trace_normals
from demo.normals_models import load_normals_judge
from demo.paths import NORMALS_GUIDER
from demo.rays import CAMERA_DISTANCE
from demo.scenes import meet, random_parameters, render
from demo.shading import FLOOR, OBJECT, WALL
from demo.shapes import SHAPES
from ppap_core.guiders import load_guider
from ppap_core.targets.normal_maps import integrability
from ppap_core.targets.normals_target import NormalsTarget


def test_floor_and_wall_are_turned_by_the_cameras_tilt():
    scenes, normals = render(12, seed=5), scene_normals(12, seed=5)
    p = random_parameters(12, seed=5)
    tilt = torch.atan((p["camera_height"] - p["aim_height"]) / CAMERA_DISTANCE)
    for segment, up, towards in ((FLOOR, tilt.cos(), tilt.sin()), (WALL, -tilt.sin(), tilt.cos())):
        expected = torch.stack((0 * tilt, up, towards), 1)
        for picture, where, wanted in zip(normals, scenes.segmentation, expected, strict=True):
            seen = picture[:, where == segment]
            torch.testing.assert_close(seen, wanted[:, None].expand_as(seen), atol=1e-5, rtol=0)


def test_a_spheres_normals_are_its_radii():
    shape = SHAPES.index("sphere")
    p = random_parameters(4, seed=7)
    normal, segment = trace_normals(shape, p, 32)
    met = meet(shape, p, 32)
    radius = met.point - met.space.centre
    tilt = torch.atan((p["aim_height"] - p["camera_height"]) / CAMERA_DISTANCE)[:, None]
    right, up, towards = (
        radius[0],
        radius[1] * tilt.cos() - radius[2] * tilt.sin(),
        -radius[1] * tilt.sin() - radius[2] * tilt.cos(),
    )
    expected = torch.stack((right, up, towards)) / radius.norm(dim=0)
    on_it = segment == OBJECT
    assert on_it.sum() > 300
    torch.testing.assert_close(normal[:, on_it], expected[:, on_it], atol=5e-3, rtol=0)


def test_they_are_normals_of_one_surface():
    normals = scene_normals(40, seed=8)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(40, 32, 32))
    assert integrability(normals) > 0.2
    assert integrability(normals * torch.tensor([1.0, -1.0, 1.0])[:, None, None]) < -0.2


def test_the_shipped_judge_sees_them_and_so_does_the_guider_through_the_loader():
    image, target = render(20, seed=21).pictures(), NormalsTarget(scene_normals(20, seed=21))
    with torch.no_grad():
        assert target.agreement(load_normals_judge()(image)).mean() < 10
        if hasattr(transformers, "AutoModelForNormalEstimation"):
            assert target.agreement(load_guider(NORMALS_GUIDER)(image)).mean() < 12
