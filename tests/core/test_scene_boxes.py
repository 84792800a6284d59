"""The demo's boxes against torchvision's, and its detector on renders that it has not seen."""

import torch
from torchvision.ops import masks_to_boxes

from demo.box_models import measure, object_boxes
from demo.paths import BOXES_GUIDER
from demo.scenes import render
from demo.shading import OBJECT
from ppap_core.guiders import load_guider


def test_boxes_hold_the_object_and_no_more():
    """torchvision counts to the last pixel, the demo to its far edge."""
    masks = render(20, seed=5).segmentation == OBJECT
    expected = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(object_boxes(masks) * 32, expected)
    assert object_boxes(torch.zeros(1, 8, 8, dtype=torch.bool)).tolist() == [[0.0] * 4]


def test_the_detector_names_shapes_and_finds_them():
    scenes = render(50, seed=14)
    with torch.no_grad():
        named, overlap = measure(load_guider(BOXES_GUIDER)(scenes.pictures()), scenes)
    assert named > 0.8 and overlap > 0.75
