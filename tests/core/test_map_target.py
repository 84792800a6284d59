"""Map targets from pictures, maps and masks; and how a map comes into a picture's frame."""

import pytest
import torch

from ppap_core.maps import fit_frame
from ppap_core.targets import VOID
from ppap_core.targets.map_target import (
    DRAWN,
    FAR_IS_BRIGHT,
    NEAR_IS_BRIGHT,
    REFERENCE,
    Frame,
    add_class_mask,
    build_map_target,
)
from ppap_core.targets.palettes import HUES, class_colours, labels_to_image

LABELS = ("floor", "wall", "object")


def picture(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def grey(*shape, seed=0):
    return picture(shape[0], 1, *shape[1:], seed=seed).expand(-1, 3, -1, -1)


def build(task, image, source, frame=None, mask=None, palette=HUES, predict=None):
    return build_map_target(task, LABELS, image, source, palette, frame or Frame(), mask, predict)


def test_a_depth_map_keeps_more_than_eight_bits():
    image = grey(1, 8, 8)
    made = build("depth", image, NEAR_IS_BRIGHT)
    torch.testing.assert_close(made.target.nearness, (image[:, 0] + 1) / 2)
    assert made.info == "depth target for 1 picture, 8 x 8: nearness"


def test_far_is_bright_inverts_the_depth_map():
    image = grey(2, 8, 8)
    near, far = (build("depth", image, s).target for s in (NEAR_IS_BRIGHT, FAR_IS_BRIGHT))
    torch.testing.assert_close(near.log_likelihood(far.nearness), torch.full((2,), -4.0))


def test_the_guider_reads_a_reference_picture():
    image = picture(2, 3, 8, 8)
    made = build("depth", image, REFERENCE, predict=lambda seen: seen[:, 0] * 3)
    assert torch.equal(made.target.nearness, image[:, 0] * 3)
    made = build("depth", image, REFERENCE, predict=lambda seen: seen[:, 0, :4, ::2])
    assert made.target.nearness.shape == (2, 8, 8)
    made = build("segmentation", image, REFERENCE, predict=lambda seen: seen[..., ::2, ::2])
    asked = made.target.shares((4, 4)) * 16
    torch.testing.assert_close(asked.argmax(1), image[..., ::2, ::2].argmax(1))
    torch.testing.assert_close(asked.amax(1), torch.ones(2, 4, 4))


def test_preview_shows_the_map_and_is_black_outside_the_mask():
    labels = torch.randint(VOID, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    image = labels_to_image(labels, class_colours(HUES, 3))
    mask = torch.ones(1, 8, 8)
    mask[:, :4] = 0
    made = build("segmentation", image, DRAWN, mask=mask)
    assert torch.equal(made.target.labels, labels)
    assert torch.equal(made.preview[..., 4:, :], image[..., 4:, :])
    assert (made.preview[..., :4, :] == -1).all()


def test_the_preview_of_depth_is_white_where_it_is_nearest():
    made = build("depth", grey(1, 8, 8) / 3 - 0.2, NEAR_IS_BRIGHT)
    assert made.preview.amin() == -1 and made.preview.amax() == 1
    assert made.preview[0, 0].argmax() == made.target.nearness.argmax()


def test_info_names_the_classes_by_area_and_what_is_left_out():
    image = labels_to_image(torch.tensor([[[2, 2, 2, 1]]]), class_colours(HUES, 3))
    made = build("segmentation", image, DRAWN)
    assert made.info.endswith("4 x 1: object 75.0%, wall 25.0%")
    image[..., 3] = torch.tensor([0.3, 0.3, 0.3]).view(1, 3, 1)
    made = build("segmentation", image, DRAWN)
    assert "25.0% of the pixels have no colour of evenly spaced hues and are void" in made.info


def test_mask_of_another_size_is_resized_and_info_says_so():
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    made = build("depth", grey(1, 8, 16), NEAR_IS_BRIGHT, mask=mask)
    assert made.target.mask.shape == (1, 8, 16)
    assert (made.target.mask[:, :3] == 1).all() and (made.target.mask[:, 5:] == 0).all()
    assert "the mask was 4 x 4, the map is 16 x 8: resized" in made.info


@pytest.mark.parametrize(
    ("fit", "width", "height", "size"),
    [
        ("stretch", 512, 512, (6, 12)),
        ("crop", 512, 512, (6, 6)),
        ("pad", 512, 512, (12, 12)),
        ("crop", 1536, 256, (2, 12)),
        ("pad", 1024, 256, (6, 24)),
        ("crop", 0, 0, (6, 12)),
        ("pad", 1024, 512, (6, 12)),
    ],
)
def test_map_is_fitted_to_the_pictures_proportions(fit, width, height, size):
    maps = torch.arange(72.0).view(1, 6, 12)
    framed = fit_frame(maps, width, height, fit, -1.0)
    assert framed.shape == (1, *size)
    top, left = ((a - b) // 2 for a, b in zip((6, 12), size, strict=True))
    middle = framed[:, max(0, -top) :, max(0, -left) :]
    kept = maps[:, max(0, top) :, max(0, left) :][:, : min(6, size[0]), : min(12, size[1])]
    assert torch.equal(middle[:, : kept.shape[1], : kept.shape[2]], kept)
    assert (framed == -1).sum() == size[0] * size[1] - kept.numel()


def test_padded_border_has_no_target():
    frame = Frame(8, 8, "pad")
    depth = build("depth", grey(1, 4, 8), NEAR_IS_BRIGHT, frame)
    assert depth.target.mask[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    image = labels_to_image(torch.zeros(1, 4, 8).long(), class_colours(HUES, 3))
    made = build("segmentation", image, DRAWN, frame)
    assert made.target.labels[0, :, 0].tolist() == [VOID, VOID, 0, 0, 0, 0, VOID, VOID]
    assert "the map was 8 x 4, the picture is 8 x 8: padded" in made.info


@pytest.mark.parametrize(
    ("task", "source", "message"),
    [
        (
            "class",
            REFERENCE,
            "for depth, segm.* or edges, .* predicts class: connect another guider",
        ),
        (
            "segmentation",
            NEAR_IS_BRIGHT,
            "for depth, .* predicts segmentation: choose the source ref",
        ),
        (
            "depth",
            DRAWN,
            "for segmentation, .* predicts depth: choose the source ref",
        ),
    ],
)
def test_a_source_for_another_task_is_refused(task, source, message):
    with pytest.raises(ValueError, match=message):
        build(task, grey(1, 8, 8), source)


def test_a_depth_map_in_false_colours_is_refused():
    with pytest.raises(ValueError, match="coloured"):
        build("depth", picture(1, 3, 8, 8), NEAR_IS_BRIGHT)


def test_palette_with_too_many_classes_is_refused():
    image = labels_to_image(torch.full((1, 4, 4), 17), class_colours("Cityscapes", 19))
    with pytest.raises(ValueError, match="asks for class 17, the guider knows 0 to 2"):
        build("segmentation", image, DRAWN, palette="Cityscapes")


def left_half(height=4, width=8):
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_later_masks_are_painted_over_earlier_ones():
    first = add_class_mask(LABELS, left_half(), "object")
    assert first.target.labels[0, 0].tolist() == [2, 2, 2, 2, *[VOID] * 4]
    top = torch.zeros(1, 4, 8)
    top[:, :2] = 1
    made = add_class_mask(LABELS, top, "wall", first.target, elsewhere="floor")
    assert made.target.labels[0, :, 0].tolist() == [1, 1, 2, 2]
    assert made.target.labels[0, :, 7].tolist() == [1, 1, 0, 0]
    assert made.info.endswith("wall 50.0%, floor 25.0%, object 25.0%")
    assert (made.target.mask == 1).all()


def test_mask_is_resized_to_the_target_it_is_painted_on():
    first = add_class_mask(LABELS, left_half(), "object")
    made = add_class_mask(LABELS, left_half(16, 32), "wall", first.target)
    assert made.target.labels[0, 0].tolist() == [1, 1, 1, 1, *[VOID] * 4]
    assert "the mask was 32 x 16, the map is 8 x 4: resized" in made.info


def test_a_batch_of_masks_gives_each_picture_its_own():
    masks = torch.cat([left_half(), 1 - left_half()])
    first = add_class_mask(LABELS, left_half(), "floor").target
    made = add_class_mask(LABELS, masks, "object", first)
    assert made.target.labels[0, 0].tolist() == [*[2] * 4, *[VOID] * 4]
    assert made.target.labels[1, 0].tolist() == [*[0] * 4, *[2] * 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.zeros(1, 4, 4)}, "the mask of 'object' is empty"),
        ({"name": "objct"}, "no class 'objct': did you mean 'object'"),
        ({"name": "3"}, "out of range"),
        ({"elsewhere": "sky"}, "no class 'sky'"),
    ],
)
def test_an_impossible_mask_is_refused(change, message):
    arguments = {"mask": left_half(), "name": "object"} | change
    with pytest.raises(ValueError, match=message):
        add_class_mask(LABELS, **arguments)


def test_mask_on_a_target_of_another_task_is_refused():
    depth = build("depth", grey(1, 8, 8), NEAR_IS_BRIGHT).target
    with pytest.raises(ValueError, match="connected is a target for depth: connect"):
        add_class_mask(LABELS, left_half(), "object", depth)
    other = add_class_mask(("a", "b"), left_half(), "a").target
    with pytest.raises(ValueError, match="is a target for segmentation with 2 classes"):
        add_class_mask(LABELS, left_half(), "object", other)


def test_masks_for_another_number_of_pictures_are_refused():
    two = add_class_mask(LABELS, left_half().repeat(2, 1, 1), "floor").target
    with pytest.raises(ValueError, match="the mask is for 3 pictures, the batch has 2"):
        add_class_mask(LABELS, left_half().repeat(3, 1, 1), "object", two)
