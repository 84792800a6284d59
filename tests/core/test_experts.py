"""Experts are part of the guider exactly while they are wanted, and leave no trace."""

import copy
import gc
import random

import pytest
import timm
import torch
from torch import nn

from ppap_core.distillation.settings import AdapterSettings
from ppap_core.distillation.student import Student
from ppap_core.experts import PEFT_PREFIX, Expert, ExpertSwitch, NoiseExperts
from ppap_core.noise import NoiseRange, partition_by_timestep

BACKBONES = {
    "resnet18": {"channels": (16, 24, 32, 48), "num_classes": 5},
    "resnet10t": {"channels": (8, 8, 12, 16), "stem_width": 8, "num_classes": 5},
    "vit_tiny_patch16_224": {
        **{"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_heads": 3},
        "num_classes": 5,
    },
}


@pytest.fixture(params=BACKBONES)
def backbone(request):
    torch.manual_seed(0)
    return timm.create_model(request.param, **BACKBONES[request.param]).eval()


def trained_student(backbone, seed=0):
    """A student after three steps on random pictures: every kind of tensor has moved."""
    torch.manual_seed(seed)
    student = Student(backbone, AdapterSettings(rank=4, lora_alpha=6.0)).train()
    optimizer = torch.optim.SGD(student.trainable(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (student(torch.randn(6, 3, 32, 32)) - torch.randn(5)).square().mean().backward()
        optimizer.step()
    return student.eval()


def expert_of(student, noise_range=None):
    noise_range = noise_range or NoiseRange(0.01, 100.0)
    return Expert(noise_range, student.tensors(), student.spec.lora_alpha / student.spec.rank)


def some_experts(backbone, num=3, seed=0):
    ranges = partition_by_timestep(num)
    students = [trained_student(backbone, seed + index) for index in range(num)]
    return NoiseExperts([expert_of(*pair) for pair in zip(students, ranges, strict=True)])


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(module, state):
    now = module.state_dict()
    assert now.keys() == state.keys()
    assert all(now[name].equal(value) for name, value in state.items())


def test_a_merged_expert_answers_as_peft_does_unmerged(backbone):
    student = trained_student(backbone)
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        plain, expected = backbone(image), student(image)
        ExpertSwitch(backbone).activate(expert_of(student))
        merged = backbone(image)
    assert not torch.allclose(plain, expected, atol=1e-2)
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-5)


def test_fifty_switches_leave_the_guider_bit_for_bit_as_it_was(backbone):
    before = snapshot(backbone)
    experts = some_experts(backbone).experts
    switch = ExpertSwitch(backbone)
    first = snapshot_of_active(switch, experts[0])
    draw = random.Random(0)
    for _ in range(50):
        switch.activate(draw.choice([*experts, None]))
    switch.activate(experts[0])
    assert_same(backbone, first)
    switch.restore()
    assert_same(backbone, before)


def snapshot_of_active(switch, expert):
    switch.activate(expert)
    return snapshot(switch.backbone)


def test_activating_the_active_expert_again_writes_nothing(backbone):
    (expert,) = some_experts(backbone, num=1).experts
    switch = ExpertSwitch(backbone)
    switch.activate(expert)
    versions = [tensor._version for tensor in backbone.state_dict().values()]
    switch.activate(expert)
    assert [tensor._version for tensor in backbone.state_dict().values()] == versions


def test_switch_changes_only_the_weights_of_the_expert(backbone):
    """Experts of different reach: what only the first one touched is put back by the second."""
    before = snapshot(backbone)
    wide = expert_of(trained_student(backbone))
    name = next(iter(wide.replacements))
    narrow = Expert(wide.noise_range, {PEFT_PREFIX + name: before[name] + 1}, 1.0)
    switch = ExpertSwitch(backbone)
    switch.activate(wide)
    switch.activate(narrow)
    assert_same(backbone, before | {name: before[name] + 1})


def test_two_expert_sets_share_one_guider_undisturbed(backbone):
    sets = [some_experts(backbone, num=2, seed=seed) for seed in (0, 10)]
    switch = ExpertSwitch(backbone)
    alone = [[snapshot_of_active(switch, e) for e in experts.experts] for experts in sets]
    for index in (0, 1, 1, 0):
        for experts, expected in zip(sets, alone, strict=True):
            switch.activate(experts.experts[index])
            assert_same(backbone, expected[index])


def test_channels_last_weights_are_merged_and_restored(backbone):
    plain, (expert,) = snapshot(backbone), some_experts(backbone, num=1).experts
    expected = snapshot_of_active(ExpertSwitch(copy.deepcopy(backbone)), expert)
    switch = ExpertSwitch(backbone.to(memory_format=torch.channels_last))
    now = snapshot_of_active(switch, expert)
    for name, value in expected.items():
        torch.testing.assert_close(now[name], value)
    switch.restore()
    assert_same(backbone, plain)


def test_switching_inside_inference_mode_leaves_ordinary_weights(backbone):
    before = snapshot(backbone)
    (expert,) = some_experts(backbone, num=1).experts
    switch = ExpertSwitch(backbone)
    with torch.inference_mode():
        switch.activate(expert)
        switch.restore()
    assert_same(backbone, before)
    switch.activate(expert)
    with torch.inference_mode():
        switch.restore()
    assert_same(backbone, before)
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    backbone(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_experts_loaded_in_inference_mode_can_be_merged_outside(backbone):
    student = trained_student(backbone)
    with torch.inference_mode():
        tensors = {key: value.clone() for key, value in student.tensors().items()}
    ExpertSwitch(backbone).activate(Expert(NoiseRange(0, 1), tensors, 1.5))
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    backbone(image).sum().backward()
    torch.testing.assert_close(backbone(image), student(image), rtol=1e-5, atol=1e-5)


def test_guider_is_restored_after_a_device_move(backbone):
    """A move to another type and back is what the CPU can show of a move to the GPU."""
    before = snapshot(backbone)
    first, second = some_experts(backbone, num=2).experts
    switch = ExpertSwitch(backbone)
    switch.activate(first)
    backbone.to(torch.float64).to(torch.float32)
    switch.activate(second)
    backbone.to(torch.float64).to(torch.float32)
    switch.restore()
    assert_same(backbone, before)


def test_expert_is_chosen_by_noise_and_nearest_beyond_the_ends():
    edges = [(0.1, 1.0), (1.0, 10.0)]
    experts = NoiseExperts([Expert(NoiseRange(*pair), {}, 1.0) for pair in edges])
    low, high = experts.experts
    asked = (0.01, 0.5, 1.0, 5.0, 100.0)
    assert [experts.select(s) for s in asked] == [low, low, high, high, high]


def test_experts_that_leave_a_gap_are_refused():
    edges = [(0.1, 1.0), (2.0, 10.0)]
    with pytest.raises(ValueError, match="leave a gap"):
        NoiseExperts([Expert(NoiseRange(*pair), {}, 1.0) for pair in edges])


def linear_expert(**tensors):
    named = {PEFT_PREFIX + key.replace("__", "."): value for key, value in tensors.items()}
    return NoiseExperts([Expert(NoiseRange(0, 1), named, 1.0)])


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        (linear_expert(bias=torch.zeros(4)), r"expert 0: 'bias' is \(4,\) in the file and \(3,\)"),
        (linear_expert(weight=torch.zeros(5, 3)), r"'weight' is \(5, 3\).* and \(3, 5\)"),
        (linear_expert(scale=torch.zeros(3)), "the guider has no tensor 'scale'"),
    ],
)
def test_tensors_that_do_not_fit_the_guider_are_refused(experts, message):
    with pytest.raises(ValueError, match=message):
        experts.check_fit(nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "message"),
    [
        ((2, 5), (3, 4), "do not fit together"),
        ((2, 6), (3, 2), r"'0.weight' is \(3, 6\) in the file and \(3, 5\) in the guider"),
    ],
)
def test_lora_factors_that_do_not_fit_are_refused(shape_a, shape_b, message):
    factors = {"0.lora_A.weight": torch.zeros(shape_a), "0.lora_B.weight": torch.zeros(shape_b)}
    with pytest.raises(ValueError, match=message):
        linear_expert(**factors).check_fit(nn.Sequential(nn.Linear(5, 3)))


def live_bytes():
    """Bytes of all tensors that Python holds, each storage once."""
    tensors = [o for o in gc.get_objects() if type(o) in (torch.Tensor, nn.Parameter)]
    storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}
    return sum(storages.values())


@pytest.mark.parametrize(("max_touched", "most"), [(0.25, 1.4), (1.0, 2.1)])
def test_five_experts_of_resnet50_cost_little_memory(max_touched, most):
    """One backbone, the originals of what is touched, and five adapters, never five backbones."""
    gc.collect()
    nothing = live_bytes()
    backbone = timm.create_model("resnet50").eval()
    alone = live_bytes() - nothing
    student = Student(backbone, AdapterSettings(max_touched=max_touched))
    ranges = partition_by_timestep(5)
    experts = NoiseExperts([expert_of(student, noise_range) for noise_range in ranges])
    del student
    switch = ExpertSwitch(backbone)
    switch.activate(experts.experts[2])
    gc.collect()
    assert live_bytes() - nothing <= most * alone
