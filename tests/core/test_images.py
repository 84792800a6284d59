"""The folder of training images: what is saved comes back, what is gone or broken is left out."""

import logging

import pytest
import torch

from ppap_core.distillation.images import (
    append_manifest,
    load_images,
    read_manifest,
    save_png,
)
from ppap_core.pixels import bytes_to_image


def fill(folder, num, size=8):
    """`num` random pictures with their manifest; returns them as uint8 (N, 3, H, W)."""
    images = torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8)
    for index, image in enumerate(images):
        save_png(bytes_to_image(image), folder / f"images/{index}.png")
    append_manifest(folder, [{"file": f"images/{i}.png", "seed": i} for i in range(num)])
    return images


def test_every_pixel_value_survives_the_png(tmp_path):
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)
    save_png(bytes_to_image(ramp), tmp_path / "ramp.png")
    append_manifest(tmp_path, [{"file": "ramp.png"}])
    assert load_images(tmp_path)[0].equal(ramp)


def test_values_outside_the_range_are_clipped_not_wrapped(tmp_path):
    save_png(torch.full((3, 2, 2), 1.2), tmp_path / "a.png")
    save_png(torch.full((3, 2, 2), -1.2), tmp_path / "b.png")
    append_manifest(tmp_path, [{"file": "a.png"}, {"file": "b.png"}])
    assert load_images(tmp_path).unique().tolist() == [0, 255]


def test_images_come_back_in_the_manifests_order(tmp_path):
    images = fill(tmp_path, 5)
    assert load_images(tmp_path).equal(images)


def test_a_deleted_png_is_out_of_the_training_set(tmp_path):
    images = fill(tmp_path, 3)
    (tmp_path / "images/1.png").unlink()
    assert load_images(tmp_path).equal(images[[0, 2]])


@pytest.mark.parametrize("kept", [0, 20, 120])
def test_a_broken_png_is_skipped_and_named(tmp_path, caplog, kept):
    images = fill(tmp_path, 3)
    path = tmp_path / "images/1.png"
    path.write_bytes(path.read_bytes()[:kept])
    with caplog.at_level(logging.WARNING):
        assert load_images(tmp_path).equal(images[[0, 2]])
    assert "1.png" in caplog.text


def test_a_png_that_is_not_in_the_manifest_is_left_out(tmp_path):
    images = fill(tmp_path, 2)
    save_png(torch.zeros(3, 8, 8), tmp_path / "images/stray.png")
    assert load_images(tmp_path).equal(images)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images in .*generate"):
        load_images(tmp_path)


def test_images_of_different_sizes_are_refused(tmp_path):
    fill(tmp_path, 2)
    save_png(torch.zeros(3, 4, 4), tmp_path / "images/1.png")
    with pytest.raises(ValueError, match="different sizes"):
        load_images(tmp_path)


def test_appending_to_the_manifest_keeps_its_lines(tmp_path):
    append_manifest(tmp_path, [{"file": "a", "seed": 1}])
    append_manifest(tmp_path, [{"file": "b", "seed": 2}])
    assert read_manifest(tmp_path) == [{"file": "a", "seed": 1}, {"file": "b", "seed": 2}]
