"""Label maps with the numbers of data sets: offsets, ids, void, 16 bits, and damaged numbers."""

import io
import logging

import numpy
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ppap_core.targets import VOID
from ppap_core.targets.index_maps import (
    GREY,
    GREY_CITYSCAPES,
    GREY_FROM_1,
    read_index_map,
)
from ppap_core.targets.map_target import DRAWN, Frame, build_map_target
from ppap_core.targets.palettes import PALETTES, image_to_labels

CITYSCAPES = {  # cityscapesScripts, helpers/labels.py: id -> (train id, name)
    **{0: (255, "unlabeled"), 4: (255, "static"), 7: (0, "road"), 8: (1, "sidewalk")},
    **{9: (255, "parking"), 11: (2, "building"), 17: (5, "pole"), 18: (255, "polegroup")},
    **{23: (10, "sky"), 24: (11, "person"), 26: (13, "car"), 29: (255, "caravan")},
    **{31: (16, "train"), 32: (17, "motorcycle"), 33: (18, "bicycle")},
}


def image_of(values, scale=255.0):
    """Grey values (H, W) as ComfyUI gives a file of theirs to a node: (1, 3, H, W) in [-1, 1]."""
    grey = torch.as_tensor(numpy.asarray(values, dtype=numpy.float64) / scale).float()
    return grey.expand(1, 3, *grey.shape) * 2 - 1


def blobs(num_classes, side=64):
    """Regions of random classes, as in a real label map."""
    generator = numpy.random.default_rng(0)
    y, x = numpy.mgrid[:side, :side]
    centres, classes = generator.integers(0, side, (2, 25)), generator.integers(0, num_classes, 25)
    distances = (y[..., None] - centres[0]) ** 2 + (x[..., None] - centres[1]) ** 2
    return classes[distances.argmin(-1)].astype(numpy.uint8)


def target_of(values, palette, num_classes, **options):
    labels = [f"class {i}" for i in range(num_classes)]
    image = values if isinstance(values, torch.Tensor) else image_of(values)
    return build_map_target(
        "segmentation", labels, image, DRAWN, palette, Frame(), None, None, **options
    )


def test_the_files_of_ade20k_begin_at_one():
    """SceneParsing: 0 is "other objects", 1 wall, 150 flag; trained models begin with 0, wall."""
    made = target_of([[0, 1, 2, 150]], GREY_FROM_1, 150)
    assert made.target.labels.tolist() == [[[VOID, 0, 1, 149]]]


@pytest.mark.parametrize("scale", [255.0, 255.996])
def test_the_ids_of_cityscapes_become_train_ids(scale):
    ids = list(CITYSCAPES)
    labels = read_index_map(image_of([ids], scale), GREY_CITYSCAPES).labels.flatten().tolist()
    expected = [VOID if CITYSCAPES[i][0] == 255 else CITYSCAPES[i][0] for i in ids]
    assert labels == expected


def test_all_nineteen_classes_of_cityscapes_are_there_and_nothing_else():
    labels = read_index_map(image_of([range(256)]), GREY_CITYSCAPES).labels.flatten()
    assert sorted(labels[labels != VOID].tolist()) == list(range(19))


@pytest.mark.parametrize(
    ("void", "expected"), [(255, [0, 1, 2, VOID]), (-1, [0, 1, 2, 255]), (0, [VOID, 1, 2, 255])]
)
def test_the_void_value_can_be_chosen(void, expected):
    labels = read_index_map(image_of([[0, 1, 2, 255]]), GREY, void).labels
    assert labels.flatten().tolist() == expected


def test_the_void_value_reaches_the_target():
    made = target_of([[0, 1, 2, 0]], GREY, 3, void_value=0)
    assert made.target.labels.tolist() == [[[VOID, 1, 2, VOID]]]


@pytest.mark.parametrize("values", [[[0, 1, 1, 2]], [[3, 1, 149, 7]], [[0, 257, 300, 1]]])
def test_sixteen_bit_files_are_read_by_their_own_scale(values):
    labels = read_index_map(image_of(values, 65535.0), GREY).labels
    assert labels.tolist() == [values]


@pytest.mark.parametrize("palette", [GREY, GREY_FROM_1, GREY_CITYSCAPES])
def test_new_palettes_come_last_and_index_maps_are_read_by_them(palette):
    assert PALETTES[-3:] == (GREY, GREY_FROM_1, GREY_CITYSCAPES)
    image = image_of(blobs(19) + 7)
    read = image_to_labels(image, palette, 34)
    assert torch.equal(read.labels, read_index_map(image, palette).labels)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "area"])
def test_values_between_two_classes_are_void_and_said_to_be(mode, caplog):
    image = F.interpolate(image_of(blobs(19)), (100, 100), mode=mode)
    with caplog.at_level(logging.WARNING):
        made = target_of(image, GREY, 40)  # bicubic overshoots
    assert "of the grey values are not whole numbers" in made.info
    assert "not whole numbers" in caplog.text
    exact = (image[0, 0].double() + 1) / 2 * 255
    mixed = (exact - exact.round()).abs() > 0.11
    assert mixed.any() and (made.target.labels[0][mixed] == VOID).all()


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("num_classes", [19, 150])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_of_class_numbers_is_said_to_be_one(quality, num_classes, mode):
    file = io.BytesIO()
    Image.fromarray(blobs(num_classes)).convert(mode).save(file, "JPEG", quality=quality)
    values = numpy.array(Image.open(file).convert("L")).clip(0, num_classes - 1)
    assert "as in a JPEG" in target_of(values, GREY, num_classes).info


@pytest.mark.parametrize("num_classes", [2, 19, 150])
def test_a_png_of_class_numbers_needs_no_word(num_classes):
    made = target_of(blobs(num_classes), GREY, num_classes)
    assert "\n" not in made.info
    assert numpy.array_equal(made.target.labels[0].numpy(), blobs(num_classes))


@pytest.mark.parametrize(
    ("palette", "values", "num_classes", "highest"),
    [(GREY, [[1, 150]], 150, 150), (GREY, [[7, 26]], 19, 26), (GREY_FROM_1, [[1, 152]], 150, 151)],
)
def test_a_number_beyond_the_guiders_names_the_other_palettes(
    palette, values, num_classes, highest
):
    message = f"asks for class {highest}, the guider knows 0 to {num_classes - 1}: .*ADE20K files"
    with pytest.raises(ValueError, match=message):
        target_of(values, palette, num_classes)


def test_a_void_map_under_the_wrong_palette_is_refused():
    with pytest.raises(ValueError, match="void wherever it counts"):
        target_of([[0, 1, 2, 3]], GREY_CITYSCAPES, 19)
