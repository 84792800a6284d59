"""Class names from the folders of timm and torchvision, by timm's own rules."""

import json

import pytest
import timm
from safetensors.torch import save_file
from timm.data import CustomDatasetInfo, ImageNetInfo
from torchvision import models

from ppap_core.guiders import load_guider
from ppap_core.guiders.labels import numbered
from ppap_core.targets import find_class

ARGS = {"channels": [8, 8, 8, 8], "stem_width": 8}
NAMES = ["ant", "bee", "cat", "dog"]
DESCRIPTIONS = {"ant": "a small insect", "bee": "bee, honey bee", "cat": "a cat", "dog": "a dog"}
PRETRAINED = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}


def labels_of(folder, num_classes=4, pretrained=(), flat=False, **config):
    """The labels of a timm folder. flat: the older layout, without "pretrained_cfg"."""
    folder.mkdir()
    model = timm.create_model("resnet10t", num_classes=num_classes, **ARGS)
    save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = PRETRAINED | dict(pretrained)
    config = {"architecture": "resnet10t", "num_classes": num_classes, "model_args": ARGS} | config
    config |= pretrained if flat else {"pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    return load_guider(folder).info.labels


PLACES = {
    "list": {"label_names": NAMES},
    "dict": {"label_names": {str(i): name for i, name in enumerate(NAMES)}},
    "dict in another order": {"label_names": {str(i): NAMES[i] for i in (2, 0, 3, 1)}},
    "in pretrained_cfg": {"pretrained": {"label_names": NAMES}},
    "labels at top level": {"labels": NAMES},
    "labels as a dict": {"labels": {str(i): name for i, name in enumerate(NAMES)}},
    "older layout": {"flat": True, "labels": NAMES},
    "as transformers": {"id2label": {str(i): name for i, name in enumerate(NAMES)}},
    "class_names": {"class_names": NAMES},
    "as torchvision's folders": {"class_to_idx": {name: i for i, name in enumerate(NAMES)}},
    "label2id": {"label2id": {NAMES[i]: i for i in (3, 1, 0, 2)}},
    "top level before pretrained_cfg": {
        "label_names": NAMES,
        "pretrained": {"label_names": ["w", "x", "y", "z"]},
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_names_are_found_wherever_timm_writes_them(tmp_path, place):
    assert labels_of(tmp_path / "net", **PLACES[place]) == tuple(NAMES)


@pytest.mark.parametrize("names", [NAMES, {str(i): name for i, name in enumerate(NAMES)}])
@pytest.mark.parametrize("pretrained", [False, True])
def test_descriptions_are_timms_and_names_stay_synonyms(tmp_path, names, pretrained):
    entries = {"label_names": names, "label_descriptions": DESCRIPTIONS}
    entries = {"pretrained": entries} if pretrained else entries
    labels = labels_of(tmp_path / "net", **entries)
    timms = CustomDatasetInfo(NAMES, DESCRIPTIONS)
    for index, name in enumerate(NAMES):
        assert labels[index].startswith(timms.index_to_description(index))
        assert find_class(name, labels) == index
    assert labels[1] == "bee, honey bee" and labels[0] == "a small insect, ant"


def test_a_sparse_dict_leaves_numbers(tmp_path):
    labels = labels_of(tmp_path / "net", label_names={"1": "bee", "3": "dog"})
    assert labels == ("0", "bee", "2", "dog")


def test_a_label_of_synonyms_is_itself_and_a_blank_one_a_number():
    """It became "tench, Tinca tinca, tench, Tinca tinca", and null a class called None."""
    names = ["tench, Tinca tinca", None, " ", " cone\n"]
    assert numbered(names, 4) == ("tench, Tinca tinca", "1", "2", "cone")
    with pytest.raises(ValueError, match="label_descriptions is an object"):
        numbered(NAMES, 4, ["an insect"] * 4)


def test_names_for_another_number_of_classes_are_said_to_be_left_out(tmp_path, caplog):
    assert labels_of(tmp_path / "net", label_names=["x", *NAMES]) == ("0", "1", "2", "3")
    assert "5 label names for 4 classes" in caplog.text
    assert numbered({"0": "ant", "4": "elk"}, 4) == ("ant", "1", "2", "3")
    assert "4 classes, but label names up to number 4" in caplog.text


def test_names_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="label names are a list, or an object of class numbers"):
        labels_of(tmp_path / "net", label_names={"ant": 0})


@pytest.mark.parametrize(
    "config",
    [
        {"num_classes": 1000},
        {"num_classes": 1000, "pretrained": {"tag": "my_own_birds"}},
        {"num_classes": 1000, "flat": True},
        {"num_classes": 11821, "pretrained": {"tag": "plankton"}},
    ],
)
def test_a_users_own_thousand_classes_are_not_imagenets(tmp_path, config):
    labels = labels_of(tmp_path / "net", **config)
    assert labels == tuple(map(str, range(config["num_classes"])))


@pytest.mark.parametrize(
    ("tag", "num_classes", "subset"),
    [
        ("a1_in1k", 1000, "imagenet-1k"),
        ("in12k_ft_in1k", 1000, "imagenet-1k"),
        ("sw_in12k", 11821, "imagenet-12k"),
        ("augreg_in21k", 21843, "imagenet-21k-goog"),
        ("fb_in22k", 21841, "imagenet-22k"),
    ],
)
def test_timms_own_weights_have_imagenets_names(tmp_path, tag, num_classes, subset):
    labels = labels_of(tmp_path / "net", num_classes=num_classes, pretrained={"tag": tag})
    info = ImageNetInfo(subset)
    assert labels == tuple(info.index_to_description(i) for i in range(num_classes))


def test_an_imagenet_model_taught_other_classes_has_numbers(tmp_path):
    labels = labels_of(tmp_path / "net", num_classes=37, pretrained={"tag": "a1_in1k"})
    assert labels == tuple(map(str, range(37)))


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ({"num_classes": 1000}, "0"),
        ({"num_classes": 1000, "weights": "IMAGENET1K_V1"}, "tench"),
        ({}, "tench"),
        ({"num_classes": 1000, "labels": {"0": "ant", "999": "elk"}}, "ant"),
    ],
)
def test_torchvisions_names_belong_to_torchvisions_weights(tmp_path, config, first):
    folder = tmp_path / "net"
    folder.mkdir()
    model = models.mobilenet_v3_small(weights=None)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"torchvision": "mobilenet_v3_small"} | config))
    labels = load_guider(folder).info.labels
    assert labels[0] == first and len(labels) == 1000
