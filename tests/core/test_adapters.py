"""Where LoRA goes, what an expert may cost, and that nothing trained is lost."""

import pytest
import timm
import torch
from torch import nn

from ppap_core.distillation.adapters import (
    AdapterSettings,
    Student,
    count_trainable,
    lora_layers,
    whole_tensors,
)
from ppap_core.experts import PEFT_PREFIX

BACKBONES = {
    "resnet18": {"channels": (16, 24, 32, 48), "num_classes": 5},
    "vit_tiny_patch16_224": {
        **{"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_heads": 3},
        "num_classes": 5,
    },
}


@pytest.fixture(params=BACKBONES)
def backbone(request):
    torch.manual_seed(0)
    return timm.create_model(request.param, **BACKBONES[request.param]).eval()


@pytest.mark.parametrize(
    ("name", "each", "five"),
    [("resnet50", 1_460_000, 7_300_000), ("deit_small_patch16_224", 937_200, 4_690_000)],
)
def test_experts_stay_within_the_papers_parameters(name, each, five):
    """Go et al., 2023: 28.6 % of ResNet50 and 21.3 % of DeiT-S for five experts."""
    with torch.device("meta"):
        trainable = count_trainable(Student(timm.create_model(name), AdapterSettings()))
    assert trainable <= each
    assert 5 * trainable <= five


def test_a_fresh_student_answers_as_the_guider_does(backbone):
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(Student(backbone, AdapterSettings())(image), backbone(image))


def test_the_backbone_is_not_touched_by_its_student(backbone):
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    student = Student(backbone, AdapterSettings()).train()
    torch.optim.SGD(student.trainable(), lr=1.0).zero_grad()
    student(torch.randn(4, 3, 32, 32)).square().sum().backward()
    torch.optim.SGD(student.trainable(), lr=1.0).step()
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].equal(value) for name, value in before.items())


@pytest.mark.parametrize("max_touched", [0.2, 0.5, 1.0])
def test_lora_sits_on_the_named_layers_and_nowhere_else(backbone, max_touched):
    """peft takes a listed "conv1" for every layer that ends so; ResNet's stem is called that."""
    student = Student(backbone, AdapterSettings(max_touched=max_touched))
    found = {
        name.removesuffix(".lora_A.default")
        for name, _ in student.model.named_modules()
        if name.endswith(".lora_A.default")
    }
    assert found == set(student.spec.layers)


def test_all_that_is_trained_is_in_the_experts_tensors(backbone):
    student = Student(backbone, AdapterSettings(max_touched=0.2))
    tensors = student.tensors()
    assert tensors.keys() == student.spec.keys()
    statistics = sum(v.numel() for k, v in tensors.items() if ".running_" in k)
    assert sum(v.numel() for v in tensors.values()) == count_trainable(student) + statistics
    with torch.no_grad():
        for parameter in student.trainable():
            parameter.fill_(7.0)
    trained = {k: v for k, v in student.tensors().items() if ".running_" not in k}
    assert all(value.eq(7.0).all() for value in trained.values())


def test_tensors_are_copies(backbone):
    student = Student(backbone, AdapterSettings())
    tensors = student.tensors()
    with torch.no_grad():
        student.trainable()[0].add_(1.0)
    assert any(not value.equal(tensors[key]) for key, value in student.tensors().items())


def test_lora_touches_no_more_than_its_share_from_the_input_on(backbone):
    total = sum(p.numel() for p in backbone.parameters())
    layers = lora_layers(backbone, 0.3)
    assert sum(backbone.get_submodule(name).weight.numel() for name in layers) <= 0.3 * total
    assert lora_layers(backbone, 1.0)[: len(layers)] == layers


def test_head_and_grouped_convolutions_get_no_lora():
    backbone = timm.create_model("mobilenetv2_035", num_classes=5)
    names = lora_layers(backbone, 1.0)
    assert names and "classifier" not in names
    assert all(getattr(backbone.get_submodule(name), "groups", 1) == 1 for name in names)
    assert any(getattr(module, "groups", 1) > 1 for module in backbone.modules())


def test_batch_norm_brings_its_running_statistics():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    assert whole_tensors(backbone) == [
        *("0.bias", "1.bias", "1.running_mean", "1.running_var", "1.weight")
    ]
    student = Student(backbone, AdapterSettings(max_touched=1.0)).train()
    student(torch.randn(8, 3, 8, 8) + 3)
    mean = student.tensors()[f"{PEFT_PREFIX}1.running_mean"]
    assert not mean.equal(torch.zeros(4))


@pytest.mark.parametrize(
    "settings", [{"rank": 0}, {"lora_alpha": 0.0}, {"max_touched": 0.0}, {"max_touched": 1.1}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="rank is at least 1"):
        AdapterSettings(**settings)


def test_a_share_too_small_for_any_layer_is_refused(backbone):
    with pytest.raises(ValueError, match="raise max_touched"):
        Student(backbone, AdapterSettings(max_touched=1e-6))
