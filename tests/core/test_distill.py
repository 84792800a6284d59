"""The trainer on a world small enough for seconds: stripes, and a net that reads clean ones."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.distributions import Categorical, kl_divergence

from ppap_core.distillation.batch import FROM_NOISE, Lessons
from ppap_core.distillation.distill import Distilled, Progress, distill
from ppap_core.distillation.evaluate import (
    NOTHING_MEASURED,
    HeldOut,
    RangeAgreement,
    agreement_table,
    merge_silent,
)
from ppap_core.distillation.learned import MORE_PICTURES, REMEDY, what_was_learned
from ppap_core.distillation.learner import Learner, share_of_rate
from ppap_core.distillation.losses import constant_loss
from ppap_core.distillation.phases import plan_phases
from ppap_core.distillation.progress import TimeLeft, duration
from ppap_core.distillation.report import report_text
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.distillation.state import resume
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, fingerprint
from ppap_core.noise import NoiseRange, add_noise, sample_sigma_ve
from ppap_core.pixels import bytes_to_image
from training.progress import Watcher

SIDE = 12
ADAPTER = AdapterSettings(rank=4, max_touched=1.0)
QUICK = DistillSettings(
    partition="timestep", num_experts=2, steps=4, batch_size=16, adapter=ADAPTER
)
BY_BATCH = replace(QUICK, adapter=replace(ADAPTER, norm_statistics="batch"))  # learned at any rate


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
        nn.Conv2d(3, 12, 3),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    images, kinds = stripes(512, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-2)
    for step in range(60):
        chosen = slice(64 * (step % 8), 64 * (step % 8) + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(bytes_to_image(images[chosen])), kinds[chosen]).backward()
        optimizer.step()
    info = GuiderInfo("timm/net", "net", "class", tuple("abcd"), fingerprint(net.state_dict()))
    return Guider(net, Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3), info)


def learn_from(guider, images, settings=QUICK, **kept):
    data = TrainingSet(images, teacher_answers(guider, images))
    return distill(guider, data, settings, **kept)


@torch.no_grad()
def held_out_loss(guider, noise_range, images, answers):
    """Mean KL(teacher || guider as it stands) on fixed noise."""
    generator = torch.Generator().manual_seed(9)
    sigma_ve = sample_sigma_ve(noise_range, len(images), generator)
    eps = torch.randn(images.shape, generator=generator)
    answer = guider(add_noise(bytes_to_image(images), sigma_ve, eps))
    return kl_divergence(Categorical(logits=answers), Categorical(logits=answer)).mean().item()


def test_experts_learn_to_read_noise_from_the_teachers_answers(guider):
    learning = {"steps": 120, "batch_size": 32, "warm_up_steps": 5, "learning_rate": 1e-2}
    settings = replace(QUICK, num_experts=3, **learning)
    experts = learn_from(guider, stripes(512, seed=2)[0], settings).experts
    images, kinds = stripes(256, seed=3)
    answers = teacher_answers(guider, images)
    assert (answers.argmax(dim=1) == kinds).float().mean() > 0.9
    for expert in experts.experts:
        losses = []
        for active in (None, expert):
            guider.switch.activate(active)
            losses.append(held_out_loss(guider, expert.noise_range, images, answers))
        assert losses[1] < 0.95 * losses[0]
    rows = HeldOut(guider, TrainingSet(images, answers)).rows(experts)
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
    first = learn_from(guider, images)
    torch.rand(7)
    assert same_tensors(first, learn_from(guider, images))
    assert not same_tensors(first, learn_from(guider, images, replace(QUICK, seed=5)))


def test_carry_over_starts_from_the_neighbouring_expert(guider):
    """With no steps to speak of, what the first expert learned is all that the second has."""
    images = stripes(64, seed=2)[0]
    still = replace(BY_BATCH, learning_rate=1e-12)
    carried = learn_from(guider, images, still).experts.experts
    alone = replace(still, initialisation="independent")
    independent = learn_from(guider, images, alone).experts.experts
    mean = next(key for key in carried[0].tensors if key.endswith("running_mean"))
    assert carried[0].tensors[mean].equal(independent[0].tensors[mean])
    momentum = 0.9**QUICK.steps  # what is left of the statistics one began with
    begun = carried[0].tensors[mean] - guider.backbone.state_dict()[mean.split("model.")[-1]]
    difference = carried[1].tensors[mean] - independent[1].tensors[mean]
    torch.testing.assert_close(difference, momentum * begun, rtol=1e-3, atol=1e-5)


def test_the_guider_is_not_changed_by_its_students(guider):
    before = {name: value.clone() for name, value in guider.state_dict().items()}
    learn_from(guider, stripes(64, seed=2)[0])
    assert all(guider.state_dict()[name].equal(value) for name, value in before.items())
    assert not guider.backbone.training
    assert not any(p.requires_grad for p in guider.parameters())


def test_teacher_answers_without_experts(guider):
    images = stripes(64, seed=2)[0]
    expected = learn_from(guider, images)
    guider.switch.activate(expected.experts.experts[1])
    assert same_tensors(learn_from(guider, images), expected)


def test_teacher_answers_do_not_depend_on_how_they_are_batched(guider):
    images = stripes(50, seed=2)[0]
    whole = teacher_answers(guider, images)
    torch.testing.assert_close(teacher_answers(guider, images, batch_size=7), whole)


def test_nan_image_is_named_and_last_good_state_is_kept(guider, tmp_path):
    images = stripes(64, seed=2)[0]
    states = bytes_to_image(images)
    states[9] = float("nan")
    data = TrainingSet(states, teacher_answers(guider, images))
    file = tmp_path / "state.safetensors"
    settings = replace(QUICK, batch_size=4, steps=60, num_experts=1)
    with pytest.raises(
        RuntimeError, match=r"noise range \[0.01.*\(image 9 at sigma .*last good state"
    ):
        distill(guider, data, settings, file=file, save_every=1)
    kept = resume(file, "")
    assert 0 < kept.step == len(kept.losses[0])
    assert all(tensor.isfinite().all() for tensor in kept.learner.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "sigma"}, "partition is one of timestep, log_snr, got 'sigma'"),
        ({"initialisation": "x"}, "initialisation is one of carry_over, shared, independent"),
        ({"num_experts": 0}, "num_experts has to be at least 1 and at most 100, got 0"),
        ({"steps": 0}, "steps has to be at least 1"),
        ({"batch_size": 0}, "batch_size has to be at least 1"),
        ({"accumulation": 65}, "cuts a batch of 64 images into more pieces than it has"),
        ({"learning_rate": 0.0}, "learning_rate has to be above 0"),
        ({"ema_decay": 1.0}, "ema_decay has to be at least 0 and below 1, got 1.0"),
        ({"steps": True}, "steps has to be a whole number, got True"),
        ({"learning_rate": float("inf")}, "learning_rate has to be a finite number, got inf"),
        ({"weight_decay": -1.0}, "weight_decay has to be at least 0"),
        ({"warm_up_steps": -1}, "warm_up_steps has to be at least 0"),
        ({"num_heldout": 0}, "num_heldout has to be at least 1"),
        ({"view": "nope"}, "view is one of auto, identity"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillSettings(**settings)


@pytest.mark.parametrize("initialisation", ["carry_over", "shared", "independent"])
def test_every_initialisation_takes_the_same_number_of_steps(initialisation):
    phases = plan_phases(DistillSettings(num_experts=4, steps=10, initialisation=initialisation))
    assert sum(phase.steps for phase in phases) == 40
    assert [phase.expert for phase in phases if phase.expert is not None] == [0, 1, 2, 3]


def test_a_total_budget_is_shared_by_the_experts():
    phases = plan_phases(DistillSettings(num_experts=4, steps=40, budget="total"))
    assert [phase.steps for phase in phases] == [10] * 4


def test_branches_start_from_the_shared_adapter(guider):
    """With no steps to speak of, all branches hold what the shared phase learned."""
    images = stripes(64, seed=2)[0]
    settings = replace(BY_BATCH, initialisation="shared", steps=8)
    experts = learn_from(guider, images, replace(settings, learning_rate=1e-12)).experts.experts
    mean = next(key for key in experts[0].tensors if key.endswith("running_mean"))
    start = guider.backbone.state_dict()[mean.split("model.")[-1]]
    assert not experts[0].tensors[mean].allclose(start)
    learned = learn_from(guider, images, settings).experts.experts
    factor = next(key for key in learned[0].tensors if key.endswith("lora_B.weight"))
    one, other = (expert.tensors[factor] for expert in learned)
    assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.5


def test_accumulated_gradients_are_those_of_the_whole_batch(guider):
    """Without BatchNorm, whose statistics are a piece's own, the pieces add up."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(800, 4))
    info = replace(guider.info, fingerprint=fingerprint(net.state_dict()))
    plain = Guider(net, guider.preprocessing, info)
    images = stripes(64, seed=2)[0]
    whole = learn_from(plain, images).experts.experts
    pieces = learn_from(plain, images, replace(QUICK, accumulation=3)).experts.experts
    for key, value in whole[1].tensors.items():
        torch.testing.assert_close(pieces[1].tensors[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "constant", "share"),
    [(-1e-9, 1.0, 0.05), (0.0, 1.0, 0.05), (0.09, 1.0, 0.3), (9.0, 1.0, 1.0), (0.1, 0.0, 1.0)],
)
def test_a_share_of_the_rate_is_left_whatever_rounding_makes_of_a_loss(loss, constant, share):
    assert share_of_rate(loss, constant) == pytest.approx(share)


@pytest.mark.parametrize("noise", [0.8, 100.0])
def test_the_rate_is_lower_where_a_student_begins_nearly_right(guider, noise):
    """Adam's first step moves each parameter by the rate: errors ask for it, not their squares."""
    settings = replace(QUICK, warm_up_steps=0, learning_rate=1e-3)
    data = TrainingSet(images := stripes(64, seed=2)[0], teacher_answers(guider, images))
    moved = {}
    for asked in (replace(settings, rate_by_loss=False), settings):
        constant = constant_loss("class", data.answers, 1.0)
        learner = Learner(guider, asked, steps=10, constant=constant)
        before = [parameter.detach().clone() for parameter in learner.student.trainable()]
        lessons = Lessons(data, FROM_NOISE, guider.preprocessing)
        batch = lessons.batch(NoiseRange(noise, 1.1 * noise), asked, 0, torch.device("cpu"))
        loss = learner.learn(batch.pieces).item()
        after = learner.student.trainable()
        changes = [(a - b).abs().max() for a, b in zip(after, before, strict=True)]
        moved[asked.rate_by_loss] = max(changes).item()
    sure = data.answers.softmax(dim=1)
    always = Categorical(probs=sure.mean(dim=0).expand_as(sure))
    expected = kl_divergence(Categorical(probs=sure), always).mean().item()
    share = min(1.0, (loss / expected) ** 0.5)
    assert (share == 1.0) == (noise == 100.0)
    assert moved[False] == pytest.approx(1e-3, rel=1e-2)
    assert moved[True] == pytest.approx(share * 1e-3, rel=1e-2)


def test_averaged_weights_are_the_moving_average_of_the_steps(guider):
    images = stripes(64, seed=2)[0]
    averaged = learn_from(guider, images, replace(QUICK, ema_decay=0.9, num_experts=1))
    assert not same_tensors(averaged, learn_from(guider, images, replace(QUICK, num_experts=1)))


def test_without_held_out_pictures_nothing_is_measured_and_nothing_is_claimed(guider):
    images = stripes(9, seed=2)[0]
    data = TrainingSet(images, teacher_answers(guider, images))
    training, heldout = data.split(256)
    distilled = distill(guider, training, QUICK)
    rows = HeldOut(guider, heldout).rows(distilled.experts)
    assert rows == [] and len(merge_silent(distilled.experts, rows)) == QUICK.num_experts
    for text in (agreement_table(rows), report_text("mine", "class", rows, distilled, {})):
        assert NOTHING_MEASURED in text and "nan" not in text and "has learned" not in text


def test_what_was_learned_is_said_for_each_range_with_what_to_do():
    """Losses of the plain guider, of the expert and of a constant answer."""
    losses = {
        "learned, 90%": (1.0, 0.2, 2.0),
        "NOT LEARNED YET": (1.0, 3.0, 2.0),
        "no signal": (4.0, 2.0, 2.0),
        "no better than the guider alone": (0.5, 0.6, 2.0),
    }
    ranges = NoiseRange(0.1, 1), NoiseRange(1, 2), NoiseRange(2, 4), NoiseRange(4, 9)
    rows = [
        RangeAgreement(noise_range, plain, expert, 0.5, 0.9, constant, 20)
        for noise_range, (plain, expert, constant) in zip(ranges, losses.values(), strict=True)
    ]
    first, *lines, remedy = what_was_learned("class", rows)
    assert "20 pictures" in first and remedy == REMEDY and len(lines) == 4
    for noise_range, words, line in zip(ranges, losses, lines, strict=True):
        assert line.startswith(f"noise {noise_range}: {words}") and "guider alone 50%" in line
    assert REMEDY not in what_was_learned("class", rows[:1])


def test_what_was_learned_by_heart_needs_more_pictures_not_more_steps():
    row = RangeAgreement(NoiseRange(0.1, 1), 1.0, 3.0, 0.5, 0.4, 2.0, 20)
    early, by_heart = replace(row, training_loss=2.5), replace(row, training_loss=0.3)
    assert what_was_learned("class", [early])[-1] == REMEDY
    _, line, remedy = what_was_learned("class", [by_heart])
    assert "LEARNED BY HEART" in line and remedy == MORE_PICTURES
    distilled = Distilled(None, None, [], [], [7])
    report = report_text("mine", "class", [by_heart], distilled, {})
    assert MORE_PICTURES in report and "Not learned yet" not in report and "| 7 |" in report


def test_the_time_left_follows_the_pace_of_the_part_under_way():
    now = [100.0]
    left = {"sampling pictures": 10, "learning": 4}
    time_left = TimeLeft(left, {"sampling pictures": 3.0, "learning": 5.0}, lambda: now[0])
    time_left.reached("sampling pictures", 10)
    assert time_left.seconds() == 10 * 3 + 4 * 5
    now[0] += 8
    time_left.reached("sampling pictures", 6)
    assert time_left.seconds() == 6 * 2 + 4 * 5
    time_left.reached("learning", 4)  # what came before is done
    now[0] += 3
    time_left.reached("learning", 3)
    assert time_left.seconds() == 3 * 3
    assert [duration(s) for s in (40, 700, 7500)] == ["40 s", "12 min", "2 h 5 min"]


def test_the_terminal_writes_sample_pictures_to_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Watcher(tmp_path, QUICK) as watcher:
        watcher(Progress(plan_phases(QUICK)[1], 3, 0.5, 10.0, 0.1, lambda: None))
        watcher.show(Image.new("RGB", (6, 4)))
    (picture,) = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload().Images("sample")
    assert (picture.step, picture.width, picture.height) == (QUICK.steps + 3, 6, 4)


def test_the_largest_seed_is_one_that_pytorch_takes(guider):
    settings = replace(QUICK, seed=0xFFFFFFFF, steps=1)
    assert learn_from(guider, stripes(16, seed=2)[0], settings).losses


def test_last_pictures_are_held_out_at_most_a_tenth():
    data = TrainingSet(torch.arange(50), torch.arange(50))
    train, heldout = data.split(256)
    assert heldout.states.tolist() == [45, 46, 47, 48, 49]
    assert len(train) == 45 and data.split(2)[1].states.tolist() == [48, 49]
