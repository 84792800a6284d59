"""torchvision models from folders: torchvision's own answers, preprocessing and labels."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from ppap_core.guiders import load_guider
from ppap_core.guiders.torchvision_guider import torchvision_preprocessing


def write_folder(folder, name, config=(), **settings):
    """A folder with random weights of torchvision's model `name`, and that model."""
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, **settings).eval()
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"torchvision": name, **dict(config)}))
    return model


@pytest.mark.parametrize("sides", [(512, 768), (768, 512), (333, 500), (300, 301)])
@pytest.mark.parametrize(
    ("weights", "task"),
    [
        (models.ResNet50_Weights.IMAGENET1K_V1, "class"),
        (models.ResNet50_Weights.IMAGENET1K_V2, "class"),
        (models.EfficientNet_B1_Weights.DEFAULT, "class"),
        (models.Swin_T_Weights.DEFAULT, "class"),
        (models.segmentation.DeepLabV3_ResNet50_Weights.DEFAULT, "segmentation"),
    ],
)
def test_preprocessing_is_torchvisions(weights, task, sides):
    image = torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))
    got = torchvision_preprocessing(weights.transforms(), task)(image * 2 - 1)
    torch.testing.assert_close(got, weights.transforms()(image), rtol=0, atol=1e-4)


def test_a_classifier_answers_as_torchvision_does(tmp_path):
    model = write_folder(tmp_path / "net", "mobilenet_v3_small")
    guider = load_guider(tmp_path / "net")
    image = torch.rand(1, 3, 240, 300)
    transform = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    torch.testing.assert_close(guider(image * 2 - 1), model(transform(image)), atol=1e-4, rtol=1e-4)
    assert guider.info.source == "torchvision/net"
    assert guider.info.labels == tuple(models.ResNet18_Weights.DEFAULT.meta["categories"])


@pytest.mark.parametrize("aux_loss", [False, True])
def test_a_segmentation_model_sees_the_whole_picture(tmp_path, aux_loss):
    settings = {"weights_backbone": None, "aux_loss": aux_loss}
    model = write_folder(tmp_path / "net", "lraspp_mobilenet_v3_large", weights_backbone=None)
    if aux_loss:
        model = write_folder(tmp_path / "aux", "deeplabv3_mobilenet_v3_large", **settings)
    guider = load_guider(tmp_path / ("aux" if aux_loss else "net"))
    image = torch.rand(1, 3, 60, 90)
    with torch.no_grad():
        logits = guider(image * 2 - 1)
        expected = model(guider.preprocessing(image * 2 - 1))["out"]
    torch.testing.assert_close(logits, expected)
    assert logits.shape == (1, 21, 520, 780)
    assert guider.info.labels[15] == "person"


def test_torchvision_config_can_set_labels_and_num_classes(tmp_path):
    config = {"num_classes": 3, "labels": ["ant", "bee", "cat"]}
    write_folder(tmp_path / "net", "mobilenet_v3_small", config, num_classes=3)
    assert load_guider(tmp_path / "net").info.labels == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"torchvision": "resnet9000"}, "torchvision has no model 'resnet9000'"),
        ({"torchvision": "fasterrcnn_resnet50_fpn"}, "is no guider: choose a classifier"),
        ({"torchvision": "resnet18", "weights": "V9"}, "has weights .*IMAGENET1K_V1.*, not 'V9'"),
        ({"torchvision": "resnet18", "num_classes": "ten"}, "above 0, got 'ten'"),
        ({"torchvision": "resnet18", "args": {"wheels": 4}}, "settings do not fit: .*wheels"),
        ({"torchvision": "mobilenet_v3_large"}, "model.safetensors does not fit config.json: "),
        ({"torchvision": "resnet50"}, "config.json describes a larger network than model.safetens"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(tmp_path, config, message):
    write_folder(tmp_path / "net", "mobilenet_v3_small", config)
    with pytest.raises(ValueError, match=message) as caught:
        load_guider(tmp_path / "net")
    assert "\n" not in str(caught.value)
