"""Networks that nobody here trained, on photographs: a guider answers as its own library does.

EfficientNet-Lite0 and scikit-image's photographs come by pip. MobileNetV2, DeepLabV3 and HED lie in
the folder that the environment variable PPAP_REAL_NETWORKS names (evidence/photographs/sources.py
and evidence/hed_weights.py say where to get them); without it their tests are skipped.
"""

import os
from pathlib import Path

import numpy
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
)

from evidence.hed_weights import SOURCE as HED
from evidence.hed_weights import write_hed
from evidence.photographs.sources import DEEPLAB, MOBILENET
from host.real_guiders import write_efficientnet_lite0
from ppap_core.distillation.losses import downscale
from ppap_core.guiders import load_guider
from ppap_core.pixels import bytes_to_image
from ppap_core.targets import parse_classes

CATS = range(281, 286)  # ImageNet's: tabby, tiger cat, Persian, Siamese, Egyptian
SEEN = {"chelsea": CATS, "coffee": (967, 504, 968), "rocket": (657, 744)}
VARIABLE = "PPAP_REAL_NETWORKS"


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)())


def image_of(picture: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    return bytes_to_image(torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None])


def real_network(source) -> Path:
    """The folder of a network of --networks; the test is skipped where there is none."""
    root = Path(os.environ.get(VARIABLE) or os.devnull)
    if not (root / source.path).exists():
        pytest.skip(f"{VARIABLE} names no folder with {source.path} ({source.address})")
    source.check(root)
    return (root / source.path).parent


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory) -> Path:
    return write_efficientnet_lite0(tmp_path_factory.mktemp("real"))


@pytest.mark.parametrize("name", SEEN)
def test_photographs_are_recognised_as_by_timm(efficientnet, name):
    """To rounding where timm resizes nothing; else PIL's 8 bits between resize and network show."""
    guider, theirs = load_guider(efficientnet), timm_model(efficientnet)
    transform = create_transform(**resolve_data_config(model=theirs), is_training=False)
    whole = photograph(name)
    for picture, tolerance in ((whole.crop((40, 0, 296, 256)), 1e-5), (whole, 0.5)):
        with torch.no_grad():
            expected, got = theirs(transform(picture)[None]), guider(image_of(picture))
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
        assert got.topk(3).indices.equal(expected.topk(3).indices)
    assert int(got.argmax()) in SEEN[name]


def timm_model(folder: Path) -> torch.nn.Module:
    """By timm's own reading of the folder."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tiger cat", {282: 1.0}),
        ("Espresso:2, coffee mug", {967: 2.0, 504: 1.0}),
        ("tabby, tabby cat", {281: 1.0}),
        ("n02124075", None),
        ("giant panda; missile", {388: 1.0, 657: 1.0}),
    ],
)
def test_its_classes_have_imagenets_names(efficientnet, typed, expected):
    labels = load_guider(efficientnet).info.labels
    assert len(labels) == 1000
    if expected is None:
        with pytest.raises(ValueError, match="no class 'n02124075'"):
            parse_classes(typed, labels)
    else:
        assert parse_classes(typed, labels) == expected


def test_mobilenet_answers_as_by_transformers():
    folder = real_network(MOBILENET)
    guider, picture = load_guider(folder), photograph("chelsea")
    theirs = AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected, got = theirs(pixels).logits, guider(image_of(picture))
    torch.testing.assert_close(got, expected, rtol=0, atol=0.5)
    assert got.argmax() == expected.argmax() and int(got.argmax()) - 1 in CATS
    assert parse_classes("tiger cat", guider.info.labels) == {283: 1.0}


def test_deeplab_finds_the_cat_as_by_transformers():
    folder = real_network(DEEPLAB)
    guider, picture = load_guider(folder), photograph("chelsea")
    theirs = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected, got = theirs(pixels).logits, guider(image_of(picture))
    assert (got.argmax(1) == expected.argmax(1)).float().mean() > 0.99
    cat = guider.info.labels.index("cat")
    assert (downscale(got, guider.info.kind).argmax(1) == cat).float().mean() > 0.8


def test_hed_draws_the_edges_of_its_photograph(tmp_path):
    """Canny's of the photograph, far more than the same ones mirrored."""
    networks = real_network(HED)
    pytest.importorskip("h5py")
    from evidence.edges import beside_canny  # the evidence takes seconds to import

    agreement, _ = beside_canny(load_guider(write_hed(networks, tmp_path, 256)))
    assert (agreement[:, 0] > agreement[:, 1] + 0.1).all(), agreement
