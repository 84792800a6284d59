"""Where LoRA goes, what an expert may cost, and that nothing trained is lost."""

import copy
import logging
import re

import pytest
import timm
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from ppap_core.distillation.lora_layers import left_out, lora_layers, whole_tensors
from ppap_core.distillation.settings import AdapterSettings
from ppap_core.distillation.student import Student, count_trainable
from ppap_core.experts import PEFT_PREFIX, Expert, ExpertSwitch
from ppap_core.noise import NoiseRange

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
def test_student_answers_as_pefts_lora_does(backbone, max_touched):
    """And on the named layers only: peft takes a listed "conv1" for every layer that ends so."""
    student = Student(backbone, AdapterSettings(rank=3, lora_alpha=5.0, max_touched=max_touched))
    with torch.no_grad():
        for parameter in student.trainable():
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = LoraConfig(
        r=student.spec.rank,
        lora_alpha=student.spec.lora_alpha,
        target_modules="|".join(map(re.escape, student.spec.layers)),
    )
    reference = inject_adapter_in_model(config, copy.deepcopy(backbone))
    state = reference.state_dict()
    for key, value in student.tensors().items():
        name = re.sub(r"(lora_[AB])\.", r"\1.default.", key.removeprefix(PEFT_PREFIX))
        state[name].copy_(value)
    assert sum("lora_A" in name for name in state) == len(student.spec.layers)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(student(image), reference(image), rtol=1e-4, atol=1e-4)


def test_experts_tensors_hold_every_trained_parameter(backbone):
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


def test_expert_tensors_are_copies_of_the_students_weights(backbone):
    student = Student(backbone, AdapterSettings())
    tensors = student.tensors()
    with torch.no_grad():
        student.trainable()[0].add_(1.0)
    assert any(not value.equal(tensors[key]) for key, value in student.tensors().items())


def test_lora_changes_only_the_first_layers_up_to_max_touched(backbone):
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


def with_statistics(norm: nn.Module) -> nn.Module:
    nn.init.normal_(norm.running_mean)
    return norm


@pytest.mark.parametrize(
    ("norm_statistics", "own"), [("guider", []), ("batch", ["1.running_mean", "1.running_var"])]
)
def test_batch_norms_normalise_by_the_guiders_statistics_or_learn_their_own(norm_statistics, own):
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), with_statistics(nn.BatchNorm2d(4)), nn.ReLU())
    settings = AdapterSettings(max_touched=1.0, norm_statistics=norm_statistics)
    assert whole_tensors(backbone, settings) == ["0.bias", "1.bias", *own, "1.weight"]
    student, noisy = Student(backbone, settings).train(), torch.randn(8, 3, 8, 8) + 3
    answer = student(noisy)
    assert answer.isclose(backbone.eval()(noisy), atol=1e-5).all() == (not own)
    for key, learned in student.state_dict().items():
        if "running_mean" in key:
            assert learned.equal(backbone[1].running_mean) == (not own)
    assert student.model[1].weight.requires_grad


def test_a_student_answers_without_dropout():
    """A part of the answer, dropped at random, would be missing in what is compared."""
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), timm.layers.DropPath(0.9), nn.Dropout(0.9))
    student = Student(backbone, AdapterSettings(max_touched=1.0)).train()
    picture = torch.randn(8, 3, 8, 8)
    torch.testing.assert_close(student(picture), backbone.eval()(picture))


@pytest.mark.parametrize(
    ("bias", "own"), [("none", set()), ("all", {"0.base_layer.bias", "1.bias"})]
)
def test_an_expert_without_norms_answers_with_the_guiders_statistics(bias, own):
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)]
    norms = map(with_statistics, norms)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.ReLU()).eval()
    settings = AdapterSettings(max_touched=1.0, bias=bias, modules_to_save="none")
    student = Student(backbone, settings).train()
    assert set(student.spec.replaced) == own
    noisy = torch.randn(8, 3, 8, 8) + 3
    student(noisy).square().mean().backward()
    torch.optim.SGD(student.trainable(), lr=0.1).step()
    ExpertSwitch(backbone).activate(Expert(NoiseRange(0, 1), student.tensors(), 1.0))
    torch.testing.assert_close(backbone(noisy), student(noisy))


def odd_backbone():
    """One layer of each kind; weights are standardised in "stem"."""
    return nn.ModuleDict(
        {
            "stem": timm.layers.ScaledStdConv2d(3, 8, 3),
            "dilated": nn.Conv2d(8, 8, 3, dilation=2),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "up": nn.ConvTranspose2d(8, 8, 2),
            "attention": nn.MultiheadAttention(8, 2),
            "conv1d": Conv1D(4, 8),
            "plain": nn.Conv2d(8, 8, 3),
            "linear": nn.Linear(8, 4),
        }
    )


def test_layers_without_lora_are_named_and_counted():
    backbone = odd_backbone()
    assert lora_layers(backbone, 1.0) == ["plain", "linear"]
    assert left_out(backbone) == {
        "layer with a forward pass of its own": 2,
        "dilated convolution": 1,
        "grouped convolution": 1,
        "transposed convolution": 1,
        "weight used without a call of its layer": 2,
    }
    assert left_out(backbone, "plain|up")["not in target_modules"] == 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("beit_base_patch16_224", {"img_size": 32, "embed_dim": 24, "num_heads": 2, "depth": 1}),
        ("eva02_tiny_patch14_224", {"img_size": 28, "depth": 1}),
        ("swinv2_tiny_window8_256", {"img_size": 32, "depths": (1,), "num_heads": (2,)}),
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1}),
    ],
)
def test_every_lora_factor_gets_a_gradient(name, settings):
    """timm's BEiT, EVA and Swin V2 multiply by `qkv.weight`, and never call the layer."""
    backbone = timm.create_model(name, num_classes=3, **settings)
    student = Student(backbone, AdapterSettings(max_touched=1.0, max_share=1.0))
    student(torch.randn(1, 3, settings["img_size"], settings["img_size"])).sum().backward()
    unused = [n for n, p in student.named_parameters() if p.requires_grad and p.grad is None]
    assert not [n for n in unused if "lora_" in n]
    assert any("qkv" in layer for layer in student.spec.layers) == name.startswith("vit")


def test_norms_can_be_stored_without_other_biases():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert whole_tensors(backbone, AdapterSettings(bias="none")) == [
        "1.bias",
        "1.weight",
    ]


def test_target_modules_match_whole_names_as_in_peft(backbone):
    """A name that only contains the expression gets no LoRA."""
    names = lora_layers(backbone, 1.0)
    last = names[-1]
    assert lora_layers(backbone, 1.0, re.escape(last)) == [last]
    assert lora_layers(backbone, 1.0, re.escape(last[1:])) == []


def test_guider_without_plain_layers_trains_norms_and_biases():
    backbone = nn.Sequential(timm.layers.ScaledStdConv2d(3, 8, 3), nn.BatchNorm2d(8))
    student = Student(backbone, AdapterSettings())
    assert student.spec.layers == () and len(student.trainable()) > 0


def test_weight_shared_by_layers_gets_no_lora():
    backbone = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    backbone[2].weight = backbone[0].weight
    assert lora_layers(backbone, 1.0) == ["1"]
    assert left_out(backbone) == {"weight shared by several layers": 2}


def test_rank_is_lowered_to_max_share_and_logged(caplog):
    with torch.device("meta"):
        backbone = timm.create_model("resnet50")
    total = sum(p.numel() for p in backbone.parameters())
    asked = AdapterSettings(rank=64, lora_alpha=32.0, max_share=0.03)
    with caplog.at_level(logging.WARNING):
        student = Student(backbone, asked)
    weights = (backbone.get_submodule(name).weight for name in student.spec.layers)
    one_more = sum(w.shape[0] + w[0].numel() for w in weights)
    assert count_trainable(student) <= 0.03 * total < count_trainable(student) + one_more
    assert f"rank {student.spec.rank} instead of 64" in caplog.text
    assert student.spec.lora_alpha / student.spec.rank == pytest.approx(0.5)


def test_max_share_below_rank_one_is_refused():
    with torch.device("meta"):
        backbone = timm.create_model("resnet50")
    with pytest.raises(ValueError, match="nothing to train"):
        none = {"target_modules": "no such layer", "bias": "none", "modules_to_save": "none"}
        Student(backbone, AdapterSettings(**none))
    with pytest.raises(ValueError, match="raise max_share, or lower max_touched"):
        Student(backbone, AdapterSettings(max_share=0.001))


def test_full_fine_tuning_trains_and_stores_every_floating_tensor():
    torch.manual_seed(0)
    backbone = timm.create_model("resnet18", **BACKBONES["resnet18"]).eval()
    student = Student(backbone, AdapterSettings(full=True)).train()
    assert count_trainable(student) == sum(p.numel() for p in backbone.parameters())
    assert student.spec.layers == ()
    assert not any("num_batches_tracked" in name for name in student.spec.replaced)
    student(torch.randn(4, 3, 32, 32)).sum().backward()
    torch.optim.SGD(student.trainable(), lr=0.1).step()
    student.eval()
    ExpertSwitch(backbone).activate(Expert(NoiseRange(0, 1), student.tensors(), 1.0))
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone(image), student(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank has to be at least 1, got 0"),
        ({"lora_alpha": 0.0}, "lora_alpha has to be above 0, got 0.0"),
        ({"max_touched": 0.0}, "max_touched has to be above 0 and at most 1, got 0.0"),
        ({"max_touched": 1.1}, "max_touched has to be above 0 and at most 1, got 1.1"),
        ({"max_share": 0.0}, "max_share has to be above 0 and at most 1, got 0.0"),
        ({"max_share": 2.0}, "max_share has to be above 0 and at most 1, got 2.0"),
        ({"target_modules": "("}, r"target_modules '\(' is no regular expression"),
        ({"bias": "lora_only"}, "bias is one of all, none, got 'lora_only'"),
        ({"modules_to_save": "heads"}, "modules_to_save is one of norms, none, got 'heads'"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        AdapterSettings(**settings)


def test_max_touched_too_small_for_any_layer_is_refused(backbone):
    with pytest.raises(ValueError, match="raise max_touched"):
        Student(backbone, AdapterSettings(max_touched=1e-6))
