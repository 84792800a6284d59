"""transformers' normals models against the library's own processor and post-processing."""

import pytest
import torch
import transformers

from ppap_core.guiders import load_guider
from tests.core.tiny_guiders import picture, transformers_folder

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "AutoModelForNormalEstimation"),
    reason="this transformers has no normals models",
)
SAPIENS, TIPS = "Sapiens2ForNormalEstimation", "Tipsv2DptForNormalEstimation"
SIGNS = {SAPIENS: (1, 1, 1), TIPS: (-1, 1, 1)}  # TIPSv2's x points left


def own_normals(folder, name, image, **options):
    model = getattr(transformers, name).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=list(image * 255), return_tensors="pt", **options)["pixel_values"]
    with torch.no_grad():
        (found,) = processor.post_process_normal_estimation(model(pixel_values=pixels))
    return pixels, found["normals"][None] * torch.tensor(SIGNS[name])[:, None, None]


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("sides", [(128, 96), (64, 48)])
def test_pixels_and_normals_are_the_librarys(tmp_path, name, sides):
    """Pictures of the shape that Sapiens2 reads, so that its processor adds no borders."""
    folder, image = transformers_folder(tmp_path / "net", name), picture(*sides)
    guider = load_guider(folder)
    pixels, expected = own_normals(folder, name, image)
    torch.testing.assert_close(guider.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    with torch.no_grad():
        got = guider(image * 2 - 1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got.norm(dim=1), torch.ones_like(got[:, 0]))
    assert guider.info.kind == "normals" and guider.info.labels == ()


def test_sapiens_borders_are_left_out_and_proportions_kept(tmp_path):
    folder, image = transformers_folder(tmp_path / "net", SAPIENS), picture(96, 144)
    pixels, _ = own_normals(folder, SAPIENS, image)
    ours = load_guider(folder).preprocessing(image * 2 - 1)
    assert ours.shape[-2:] == (32, 48) and pixels.shape[-2:] == (64, 48)
    torch.testing.assert_close(ours, pixels[..., 16:48, :], rtol=0, atol=1e-4)


def test_without_borders_sapiens_stretches_as_its_processor_does(tmp_path):
    folder, image = transformers_folder(tmp_path / "net", SAPIENS), picture(96, 144)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, do_pad=False)
    processor.save_pretrained(folder)
    pixels, expected = own_normals(folder, SAPIENS, image)
    guider = load_guider(folder)
    torch.testing.assert_close(guider.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(guider(image * 2 - 1), expected, rtol=1e-3, atol=1e-3)
