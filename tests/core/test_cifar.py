"""The measurement on CIFAR-10: what its classes are called in ImageNet, by timm's own list."""

import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo

from evidence.cifar.pictures import GROUPS, NAMES, SIDE, doubled, load_cifar
from evidence.photographs.sources import CIFAR

WORDS = {
    "airplane": ("airliner", "warplane"),
    "automobile": ("wagon", "cab", "convertible", "jeep", "limousine", "van", "Model T", "car"),
    "cat": ("tabby", "tiger cat", "Persian", "Siamese", "Egyptian", "cougar", "lynx"),
    "deer": ("ibex", "hartebeest", "impala", "gazelle"),
    "frog": ("bullfrog", "tree frog", "tailed frog"),
    "horse": ("sorrel", "zebra"),
    "truck": ("truck", "moving van"),
}


def test_every_class_of_imagenet_belongs_to_one_of_cifar():
    indices = [index for group in GROUPS.values() for index in group]
    assert len(indices) == len(set(indices))


@pytest.mark.parametrize("name", WORDS)
def test_the_classes_of_imagenet_are_what_cifar_calls_so(name):
    told = ImageNetInfo("imagenet-1k")
    for index in GROUPS[name]:
        assert any(word in told.index_to_description(index) for word in WORDS[name])


def test_dogs_and_birds_are_all_there():
    told = ImageNetInfo("imagenet-1k")
    names = [told.index_to_description(index) for index in GROUPS["dog"]]
    assert (len(names), names[0], names[-1]) == (118, "Chihuahua", "Mexican hairless")
    assert "robin" in " ".join(told.index_to_description(index) for index in GROUPS["bird"])


def test_pictures_come_by_turns_of_the_classes_and_twice_as_large(tmp_path, monkeypatch):
    monkeypatch.setattr(type(CIFAR), "check", lambda self, root: None)
    for number, name in enumerate(NAMES):
        for index in range(2):
            place = tmp_path / CIFAR.path / "test" / name / f"{index:04}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (10 * number, index, 0)).save(place.with_suffix(".jpg"))
    found = load_cifar(tmp_path, "test", tmp_path / "cache")
    assert found.label.tolist() == [*range(10), *range(10)]
    reds = found.pictures[:, 0].float().mean((1, 2))
    assert (reds - 10 * found.label).abs().max() < 3  # JPEG
    large = doubled(found.pictures)
    assert large.shape == (20, 3, SIDE, SIDE) and large.dtype == torch.uint8
    assert (large.float().mean((2, 3)) - found.pictures.float().mean((2, 3))).abs().max() < 1


def test_missing_pictures_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(ValueError, match="--photographs is missing.*CIFAR-10-images"):
        load_cifar(None, "train", tmp_path)
