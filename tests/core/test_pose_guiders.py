"""transformers' pose models against the library's own processor, forward and post-processing."""

import pytest
import torch
import transformers

from ppap_core.guiders import GuiderInfo, Preprocessing, describe, load_guider
from ppap_core.guiders.pose_guider import COCO, PoseGuider, joint_names
from ppap_core.guiders.transformers_preprocessing import whole_picture
from ppap_core.targets.heatmaps import read_joints
from tests.core import tiny_guiders
from tests.core.tiny_guiders import HALF, picture, transformers_folder, vitpose

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForPoseEstimation"),
    reason="this transformers has no pose models by task",
)
NAMES = ("VitPoseForPoseEstimation", "Sapiens2ForPoseEstimation")


class Drawn(torch.nn.Module):
    """Answers with ready heatmaps, about any picture."""

    def __init__(self, heatmaps):
        super().__init__()
        self.heatmaps = heatmaps

    def forward(self, pixels):
        return self.heatmaps


def smooth(height, width):
    """A picture without fine detail: the library resizes without antialiasing."""
    return torch.nn.functional.interpolate(picture(4, 3), (height, width), mode="bicubic").clamp(
        0, 1
    )


@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_heatmaps_are_the_librarys(tmp_path, name):
    """In a picture of the network's own size, where nothing is resized but by a rounding."""
    folder, image = transformers_folder(tmp_path / "net", name), smooth(64, 48)
    guider = load_guider(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = getattr(transformers, name).from_pretrained(folder).eval()
    boxes = [[whole_picture((64, 48))]]
    pixels = processor(images=list(image * 255), boxes=boxes, return_tensors="pt")["pixel_values"]
    ours = guider.preprocessing(image * 2 - 1)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], pixels[..., 1:-1, 1:-1], rtol=0, atol=0.02)
    with torch.no_grad():
        torch.testing.assert_close(guider.backbone(pixels), model(pixel_values=pixels).heatmaps)


@pytest.mark.parametrize("sides", [(256, 192), (480, 640), (900, 300)])
def test_joints_are_where_the_librarys_heatmaps_have_them(sides):
    """The heatmaps from which the library lets models learn, of joints all over a picture.

    Between borders, where the picture has other proportions than the input.
    """
    from transformers.models.sapiens2 import image_processing_sapiens2 as library

    shares = torch.tensor([[0.1, 0.1], [0.5, 0.5], [0.93, 0.2], [0.25, 0.88]])
    joints = [[x * sides[1], y * sides[0], 2] for x, y in shares.tolist()]
    heatmaps, _ = library.generate_udp_gaussian_heatmaps(
        boxes=[[whole_picture(sides)]],
        keypoints=[[joints]],
        output_size=(256, 192),
        downscale_factor=4,
        sigma=2.0,
    )
    reads = Preprocessing((256, 192), HALF, HALF, crop_mode="border", black_border=True)
    info = GuiderInfo("drawn", "none", "pose", tuple("abcd"), "f" * 64)
    guider = PoseGuider(Drawn(heatmaps[0][None]), reads, info)
    seen = guider(torch.zeros(1, 3, *sides))
    assert abs(seen.shape[2] / seen.shape[3] - sides[0] / sides[1]) < 0.1 * sides[0] / sides[1]
    off = (read_joints(seen).points[0] - shares) * torch.tensor((seen.shape[3], seen.shape[2]))
    assert off.abs().max() < 0.25


def test_vitpose_plus_is_asked_as_coco(tmp_path, monkeypatch):
    """Its layers of the first data set are taken; without an index the library refuses."""
    experts = {"num_experts": 3, "part_features": 8}
    entry = (lambda: vitpose(**experts), *tiny_guiders.TRANSFORMERS[NAMES[0]][1:])
    monkeypatch.setitem(tiny_guiders.TRANSFORMERS, NAMES[0], entry)
    folder, image = transformers_folder(tmp_path / "net", NAMES[0]), smooth(64, 48)
    guider = load_guider(folder)
    model = transformers.VitPoseForPoseEstimation.from_pretrained(folder).eval()
    pixels = guider.preprocessing(image * 2 - 1)
    with torch.no_grad():
        own, other = (
            model(pixel_values=pixels, dataset_index=torch.tensor([k])).heatmaps for k in (0, 1)
        )
        got = guider.backbone(pixels)
    assert got.equal(own) and not got.allclose(other)


def test_the_card_says_whose_joints_are_meant(tmp_path):
    card = describe(load_guider(transformers_folder(tmp_path / "net", NAMES[0]))).splitlines()
    assert card[1] == (
        "predicts pose: 17 joints, a heatmap for each, of the person in the picture or in a box"
    )
    assert card[2] == "joints: nose, left eye, right eye, left ear, right ear, ... right ankle"
    assert card[3] == "reads 48 x 64 pixels, colour"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Nose", "L_Eye", "right_big_toe"], ("nose", "left eye", "right big toe")),
        ([f"LABEL_{k}" for k in range(17)], COCO),
        (["LABEL_0", "LABEL_1"], ("label 0", "label 1")),
    ],
)
def test_joints_have_plain_names(names, expected):
    config = transformers.VitPoseConfig(id2label=dict(enumerate(names)))
    assert joint_names(config) == expected
