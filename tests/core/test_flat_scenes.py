"""The flat style: the same scenes, in two tones with an outline."""

import torch
from torch.nn import functional as F

from demo.scenes import render
from demo.shading import OBJECT, STYLES


def test_style_changes_the_picture_but_not_class_depth_and_segments():
    shaded, flat = (render(6, seed=4, style=style) for style in STYLES)
    assert torch.equal(shaded.label, flat.label)
    assert torch.equal(shaded.depth, flat.depth)
    assert torch.equal(shaded.segmentation, flat.segmentation)
    assert not torch.equal(shaded.image, flat.image)


def test_flat_style_has_at_most_two_tones_per_surface():
    """Away from edges, where a pixel's rays all meet the same segment."""
    scenes = render(6, seed=4, style="flat")
    for image, segments in zip(scenes.image, scenes.segmentation.long(), strict=True):
        for segment, most in ((0, 1), (1, 1), (OBJECT, 8)):  # pixels of an edge mix two tones
            other = (segments != segment).float()[None, None]
            inner = F.max_pool2d(other, 5, stride=1, padding=2)[0, 0] == 0
            colours = image[:, inner].T.unique(dim=0)
            assert len(colours) <= most


def test_a_dark_line_runs_around_the_object():
    shaded, flat = (render(6, seed=4, style=style) for style in STYLES)
    is_object = (flat.segmentation == OBJECT).float()[:, None]
    edge = (F.max_pool2d(1 - is_object, 3, 1, 1) * is_object)[:, 0] > 0
    assert edge.any()
    bright = [scenes.image.float().mean(1)[edge].mean() for scenes in (shaded, flat)]
    assert bright[1] < 0.25 * bright[0]
