"""The trainer on a world small enough for seconds: stripes, and a net that reads clean ones."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, kl_divergence

from ppap_core.expert_file import load_experts, save_experts
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, fingerprint
from ppap_core.noise import add_noise, partition_by_timestep, sample_sigma_ve
from training.adapters import AdapterSettings
from training.distill import DistillSettings, class_loss, distill, teacher_answers
from training.evaluate import agreement_per_range
from training.images import to_unit_range

SIDE = 12
ADAPTER = AdapterSettings(rank=4, max_touched=1.0)
QUICK = DistillSettings(num_experts=2, steps=4, batch_size=16, adapter=ADAPTER)
FROM = {"latent_format": "ChromaRadiance", "checkpoint": "demo.safetensors"}


def stripes(num, seed):
    """Pictures of four kinds of stripes (N, 3, SIDE, SIDE) uint8, and their kinds (N,)."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(4, (num,), generator=generator)
    across, down = torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, -1]])[kinds].T[..., None, None]
    phase = torch.rand(num, 1, 1, generator=generator) * 6.28
    position = torch.arange(SIDE).float()
    wave = torch.sin(1.6 * (across * position + down * position[:, None]) + phase)
    colour = torch.rand(num, 3, 1, 1, generator=generator) + 0.5
    return ((wave[:, None] * colour).clamp(-1, 1) * 127.5 + 127.5).byte(), kinds


@pytest.fixture(scope="module")
def guider():
    """Trained on clean stripes only, until it knows them."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    images, kinds = stripes(512, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for step in range(60):
        chosen = slice(64 * (step % 8), 64 * (step % 8) + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(to_unit_range(images[chosen])), kinds[chosen]).backward()
        optimizer.step()
    info = GuiderInfo("timm/net", "net", "class", tuple("abcd"), fingerprint(net.state_dict()))
    return Guider(net, Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3), info)


@torch.no_grad()
def held_out_loss(guider, noise_range, images, answers):
    """Mean KL(teacher || guider as it stands) on fixed noise."""
    generator = torch.Generator().manual_seed(9)
    sigma_ve = sample_sigma_ve(noise_range, len(images), generator)
    eps = torch.randn(images.shape, generator=generator)
    answer = guider(add_noise(to_unit_range(images), sigma_ve, eps))
    return kl_divergence(Categorical(logits=answers), Categorical(logits=answer)).mean().item()


def test_experts_learn_to_read_noise_from_the_teachers_answers(guider):
    learning = {"steps": 120, "batch_size": 32, "warm_up_steps": 5, "learning_rate": 1e-2}
    settings = replace(QUICK, num_experts=3, **learning)
    expert_set = distill(guider, stripes(512, seed=2)[0], settings, **FROM)
    images, kinds = stripes(256, seed=3)
    answers = teacher_answers(guider, images)
    assert (answers.argmax(dim=1) == kinds).float().mean() > 0.9
    for expert in expert_set.experts.experts:
        losses = []
        for active in (None, expert):
            guider.switch.activate(active)
            losses.append(held_out_loss(guider, expert.noise_range, images, answers))
        assert losses[1] < 0.95 * losses[0]
    rows = agreement_per_range(guider, expert_set.experts, images, answers.argmax(dim=1))
    assert rows[1].expert > rows[1].plain + 0.05
    assert guider.switch.active is None


def same_tensors(one, other):
    return all(
        a.tensors.keys() == b.tensors.keys()
        and all(b.tensors[key].equal(value) for key, value in a.tensors.items())
        for a, b in zip(one.experts.experts, other.experts.experts, strict=True)
    )


def test_the_same_seed_gives_the_same_experts_bit_for_bit(guider):
    images = stripes(64, seed=2)[0]
    torch.manual_seed(1)
    first = distill(guider, images, QUICK, **FROM)
    torch.rand(7)
    assert same_tensors(first, distill(guider, images, QUICK, **FROM))
    assert not same_tensors(first, distill(guider, images, replace(QUICK, seed=5), **FROM))


def test_carry_over_begins_where_the_neighbour_ended(guider):
    """With no steps to speak of, what the first expert learned is all that the second has."""
    images = stripes(64, seed=2)[0]
    still = replace(QUICK, learning_rate=1e-12)
    carried = distill(guider, images, still, **FROM).experts.experts
    independent = distill(
        guider, images, replace(still, initialisation="independent"), **FROM
    ).experts.experts
    mean = next(key for key in carried[0].tensors if key.endswith("running_mean"))
    assert carried[0].tensors[mean].equal(independent[0].tensors[mean])
    momentum = 0.9**QUICK.steps  # what is left of the statistics one began with
    begun = carried[0].tensors[mean] - guider.backbone.state_dict()[mean.split("model.")[-1]]
    difference = carried[1].tensors[mean] - independent[1].tensors[mean]
    torch.testing.assert_close(difference, momentum * begun, rtol=1e-3, atol=1e-5)


def test_the_guider_is_not_changed_by_its_students(guider):
    before = {name: value.clone() for name, value in guider.state_dict().items()}
    distill(guider, stripes(64, seed=2)[0], QUICK, **FROM)
    assert all(guider.state_dict()[name].equal(value) for name, value in before.items())
    assert not guider.backbone.training
    assert not any(p.requires_grad for p in guider.parameters())


def test_an_active_expert_does_not_teach(guider):
    images = stripes(64, seed=2)[0]
    expected = distill(guider, images, QUICK, **FROM)
    guider.switch.activate(expected.experts.experts[1])
    assert same_tensors(distill(guider, images, QUICK, **FROM), expected)


def test_the_file_says_how_the_experts_were_made(guider, tmp_path):
    expert_set = distill(guider, stripes(64, seed=2)[0], QUICK, **FROM)
    save_experts(expert_set, tmp_path / "file.safetensors")
    header = load_experts(tmp_path / "file.safetensors").header
    assert header.noise_ranges == tuple(partition_by_timestep(2))
    assert header.training["steps"] == 4 and header.training["num_images"] == 64
    assert header.training["adapter"]["rank"] == header.lora.rank == 4
    assert len(header.training["losses"]) == 2


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_class_loss_is_the_kl_divergence_from_the_teacher(temperature):
    torch.manual_seed(0)
    answer, teacher = torch.randn(6, 5), torch.randn(6, 5)
    expected = kl_divergence(
        Categorical(logits=teacher / temperature), Categorical(logits=answer)
    ).mean()
    torch.testing.assert_close(class_loss(answer, teacher, temperature), expected)


def test_class_loss_vanishes_where_the_student_agrees():
    logits = torch.randn(6, 5)
    assert class_loss(logits + 3, logits, 1.0).item() == pytest.approx(0, abs=1e-6)


def test_teacher_answers_do_not_depend_on_how_they_are_batched(guider):
    images = stripes(50, seed=2)[0]
    whole = teacher_answers(guider, images)
    torch.testing.assert_close(teacher_answers(guider, images, batch_size=7), whole)


def test_an_image_of_nan_stops_the_training(guider):
    images = torch.full((8, 3, SIDE, SIDE), float("nan"))
    with pytest.raises(RuntimeError, match=r"loss is not finite in noise range \[0.01"):
        distill(guider, images, QUICK, **FROM)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "sigma"}, "partition is one of timestep, log_snr, got 'sigma'"),
        ({"initialisation": "x"}, "initialisation is one of carry_over, independent, got 'x'"),
        ({"num_experts": 0}, "num_experts has to be at least 1, got 0"),
        ({"steps": 0}, "steps has to be at least 1"),
        ({"batch_size": 0}, "batch_size has to be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillSettings(**settings)
