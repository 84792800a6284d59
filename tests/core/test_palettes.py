"""Drawn label maps: the published colours, read back, with what is near none of them."""

import colorsys

import pytest
import torch

from ppap_core.targets import VOID
from ppap_core.targets.index_maps import GREY
from ppap_core.targets.palettes import (
    HUES,
    PALETTES,
    TABLES,
    class_colours,
    image_to_labels,
    labels_to_image,
)

SIZES = {"ADE20K": 150, "COCO": 133, "VOC": 21, "Cityscapes": 19}


def random_labels(num_classes, low=0):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, num_classes, (2, 24, 32), generator=generator)


def voc_colour(index):
    """Pascal VOC's development kit: the index's bits, spread over the channels."""
    rgb = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return rgb


def test_voc_palette_matches_the_development_kits_formula():
    assert class_colours("VOC", 21).tolist() == [voc_colour(index) for index in range(21)]


@pytest.mark.parametrize(
    ("palette", "index", "colour"),
    [
        ("ADE20K", 0, (120, 120, 120)),  # wall
        ("ADE20K", 2, (6, 230, 230)),  # sky
        ("ADE20K", 12, (150, 5, 61)),  # person
        ("ADE20K", 149, (92, 0, 255)),  # flag
        ("COCO", 0, (220, 20, 60)),  # person
        ("COCO", 79, (191, 162, 208)),  # toothbrush, the last of the things
        ("COCO", 132, (250, 141, 255)),  # rug
        ("Cityscapes", 0, (128, 64, 128)),  # road
        ("Cityscapes", 10, (70, 130, 180)),  # sky
        ("Cityscapes", 18, (119, 11, 32)),  # bicycle
    ],
)
def test_palettes_match_the_published_colours(palette, index, colour):
    colours = class_colours(palette, SIZES[palette])
    assert tuple(colours[index].tolist()) == colour
    assert len(TABLES[palette].split()) == SIZES[palette]


def test_hues_palette_is_evenly_spaced():
    expected = [[round(255 * c) for c in colorsys.hsv_to_rgb(i / 7, 1, 1)] for i in range(7)]
    assert class_colours(HUES, 7).tolist() == expected


@pytest.mark.parametrize("palette", [*SIZES, HUES])
def test_map_drawn_in_a_palette_is_read_back(palette):
    num_classes = SIZES.get(palette, 12)
    labels = random_labels(num_classes)
    if palette == "ADE20K":
        labels[labels == 48] = 6  # skyscraper has road's colour
    image = labels_to_image(labels, class_colours(palette, num_classes))
    read = image_to_labels(image, palette, num_classes)
    assert torch.equal(read.labels, labels)
    assert read.unmatched == 0


@pytest.mark.parametrize("palette", ["ADE20K", "COCO", "Cityscapes", HUES])
def test_black_pixels_are_void(palette):
    labels = random_labels(5, low=VOID)
    image = labels_to_image(labels, class_colours(palette, SIZES.get(palette, 5)))
    assert torch.equal(image_to_labels(image, palette, SIZES.get(palette, 5)).labels, labels)


def test_in_voc_black_is_the_background_and_the_border_colour_is_void():
    image = torch.zeros(1, 3, 1, 2)
    image[0, :, 0, 1] = torch.tensor([224.0, 224.0, 192.0])
    assert image_to_labels(image / 127.5 - 1, "VOC", 21).labels.tolist() == [[[0, VOID]]]


def test_colours_blurred_by_compression_go_to_the_nearest():
    labels = random_labels(21)
    image = labels_to_image(labels, class_colours("VOC", 21))
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    assert torch.equal(image_to_labels(image + 0.15 * noise, "VOC", 21).labels, labels)


def test_pixels_near_no_colour_are_void_and_counted():
    labels = torch.zeros(1, 4, 8, dtype=torch.int64)
    image = labels_to_image(labels, class_colours("Cityscapes", 19))
    image[..., 6:] = torch.tensor([0.0, 0.9, -0.9]).view(3, 1, 1)
    read = image_to_labels(image, "Cityscapes", 19)
    assert read.unmatched == 0.25
    assert (read.labels[..., :6] == 0).all() and (read.labels[..., 6:] == VOID).all()


def test_map_without_any_palette_colour_is_refused():
    with pytest.raises(ValueError, match="no pixel of the map has a colour of the palette VOC"):
        image_to_labels(torch.tensor([1.0, -0.2, 1.0]).view(1, 3, 1, 1), "VOC", 21)


@pytest.mark.parametrize("scale", [255.0, 255.996])
def test_grey_values_are_indices_even_as_comfyui_reads_grey_files(scale):
    """ComfyUI 0.30's Load Image returns index / 255.996 for 8-bit grey files, not index / 255."""
    indices = torch.arange(256)
    image = (indices / scale * 2 - 1).expand(1, 3, 1, 256)
    labels = image_to_labels(image, GREY, 150).labels.flatten()
    assert torch.equal(labels[:255], indices[:255])
    assert labels[255] == VOID


def test_coloured_map_is_refused_by_the_grey_palette():
    with pytest.raises(ValueError, match="the map is coloured"):
        image_to_labels(torch.rand(1, 3, 8, 8), GREY, 5)


def test_preview_falls_back_to_hues_if_the_palette_has_too_few_colours():
    for palette in PALETTES:
        colours = class_colours(palette, 200)
        assert len({tuple(colour) for colour in colours.tolist()}) == 200


def test_an_unknown_palette_is_refused():
    with pytest.raises(ValueError, match="palette is one of ADE20K, .*, got 'KITTI'"):
        class_colours("KITTI", 5)
