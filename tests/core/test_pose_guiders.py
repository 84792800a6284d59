"""transformers' pose models against the library's own processor, forward and post-processing."""

import pytest
import torch
import transformers

from ppap_core.guiders import describe, load_guider
from ppap_core.guiders.pose_guider import COCO
from ppap_core.guiders.transformers_preprocessing import whole_picture
from ppap_core.targets.heatmaps import read_joints
from tests.core import tiny_guiders
from tests.core.tiny_guiders import picture, transformers_folder, vitpose

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForPoseEstimation"),
    reason="this transformers has no pose models by task",
)
NAMES = ("VitPoseForPoseEstimation", "Sapiens2ForPoseEstimation")
TALL, WIDE, LARGE = (64, 48), (48, 72), (320, 240)


def smooth(height, width):
    """A picture without fine detail: the library resizes without antialiasing."""
    return torch.nn.functional.interpolate(picture(4, 3), (height, width), mode="bicubic").clamp(0, 1)


def processed(folder, image):
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    boxes = [[whole_picture(image.shape[-2:])]]
    return processor(images=list(image * 255), boxes=boxes, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("sides", [TALL, WIDE, LARGE])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_the_librarys(tmp_path, name, sides):
    """Half a pixel of the input lies between both: the library measures from centre to centre."""
    folder, image = transformers_folder(tmp_path / "net", name), smooth(*sides)
    ours, theirs = load_guider(folder).preprocessing(image * 2 - 1), processed(folder, image)
    assert ours.shape == theirs.shape == (1, 3, 64, 48)
    edges = (theirs == theirs.amin()).all(1, keepdim=True)
    inner = -torch.nn.functional.max_pool2d(-(~edges).float(), 3, 1, 1) > 0
    step = max((image.diff(dim=axis).abs().max() * s / 64) for axis, s in ((2, sides[0]), (3, sides[1])))
    allowed = 2 * step.item() * max(1, 64 / max(sides)) + 0.05
    difference = ((ours - theirs).abs() * inner).max()
    print(name, sides, difference, allowed, inner.float().mean())
    assert inner.float().mean() > 0.3 and difference < allowed


@pytest.mark.parametrize("name", NAMES)
def test_heatmaps_are_the_models_own(tmp_path, name):
    """A picture of the input's own size: the heatmaps move by less than half a pixel."""
    folder, image = transformers_folder(tmp_path / "net", name), smooth(*TALL)
    guider = load_guider(folder)
    model = getattr(transformers, name).from_pretrained(folder).eval()
    with torch.no_grad():
        got = guider(image * 2 - 1)
        own = model(pixel_values=guider.preprocessing(image * 2 - 1)).heatmaps
    assert guider.backbone(guider.preprocessing(image * 2 - 1)).equal(own)
    assert got.shape == own.shape
    corner, last = own[..., 0, 0], own[..., -1, -1]
    print((got[..., 0, 0] - corner).abs().max(), (got[..., -1, -1]-last).abs().max(), own.std())
