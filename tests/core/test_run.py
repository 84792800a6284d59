"""A training that is stopped, at any moment, ends with the same bits as one that is not."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from host.damage import OF_SAFETENSORS
from ppap_core.distillation.distill import distill
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.distillation.state import TrainingState, resume, training_fingerprint
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing

ROOT = Path(__file__).parents[2]
SETTINGS = DistillSettings(
    num_experts=2,
    steps=12,
    warm_up_steps=2,
    batch_size=8,
    ema_decay=0.9,
    initialisation="shared",
    adapter=AdapterSettings(rank=2, max_touched=1.0, norm_statistics="batch"),
)


def tiny_guider() -> Guider:
    """With BatchNorm, whose running statistics must come back too."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    nn.init.normal_(net[1].running_mean)
    info = GuiderInfo("timm/net", "net", "class", tuple("abcd"), "f" * 64)
    return Guider(net, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), info)


def tiny_data() -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return TrainingSet(images, torch.randn(64, 4, generator=generator))


def tensors_of(distilled) -> list[dict]:
    return [dict(expert.tensors) for expert in distilled.experts.experts]


def same(one: list[dict], other: list[dict]) -> bool:
    return all(
        a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def uninterrupted():
    return distill(tiny_guider(), tiny_data(), SETTINGS)


@pytest.mark.parametrize("save_every", [1, 5, 1000])
@pytest.mark.parametrize("stop_after", [1, 11, 12, 13, 20, 23])
def test_stopped_training_resumes_with_the_same_bits(
    tmp_path, uninterrupted, stop_after, save_every
):
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    kept = {"file": tmp_path / "state.safetensors", "save_every": save_every}
    with pytest.raises(KeyboardInterrupt):
        distill(tiny_guider(), tiny_data(), SETTINGS, watch=stop, **kept)
    torch.rand(5)
    resumed = distill(tiny_guider(), tiny_data(), SETTINGS, watch=seen.append, **kept)
    assert same(tensors_of(resumed), tensors_of(uninterrupted))
    assert resumed.losses == uninterrupted.losses
    assert len(seen) == 24  # no step was taken twice


KILLED = """
import sys
sys.path.insert(0, "tests/core")
from pathlib import Path
from test_run import *
torch.set_num_threads(1)
result = distill(tiny_guider(), tiny_data(), replace(SETTINGS, steps=60), file=Path(sys.argv[1]),
                 save_every=3, watch=lambda progress: time.sleep(0.002))
from safetensors.torch import save_file
tensors = {f"{i}/{k}": v for i, t in enumerate(tensors_of(result)) for k, v in t.items()}
save_file(tensors, sys.argv[2])
"""


def start(state: Path, out: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", KILLED, str(state), str(out)], cwd=ROOT)


@pytest.mark.slow
def test_killed_training_resumes_with_the_same_bits(tmp_path):
    """Each of five runs is killed once somewhere between its first saved step and its end."""
    assert start(tmp_path / "s", tmp_path / "whole").wait() == 0
    expected = load_file(tmp_path / "whole")
    for index in range(5):
        state, out = tmp_path / f"s{index}", tmp_path / f"out{index}"
        process = start(state, out)
        while not state.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not out.exists()
        assert start(state, out).wait() == 0
        found = load_file(out)
        assert found.keys() == expected.keys()
        assert all(found[key].equal(value) for key, value in expected.items())


def test_finished_training_returns_its_experts_without_another_step(tmp_path, uninterrupted):
    file = tmp_path / "state.safetensors"
    distill(tiny_guider(), tiny_data(), SETTINGS, file=file)
    seen = []
    again = distill(tiny_guider(), tiny_data(), SETTINGS, file=file, watch=seen.append)
    assert not seen and same(tensors_of(again), tensors_of(uninterrupted))


def test_state_of_another_training_is_refused_and_kept(tmp_path):
    file = tmp_path / "state.safetensors"
    TrainingState("one").save(file)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        resume(file, "two")
    assert resume(file, "one").step == 0


def test_a_state_of_other_settings_names_them_before_anything_is_written(tmp_path):
    file, begun = tmp_path / "state.safetensors", []
    quick = replace(SETTINGS, num_experts=1, steps=2)
    data = tiny_data()
    distill(tiny_guider(), data, quick, file=file, fingerprint="a", begin=lambda: begun.append(1))
    other = replace(quick, steps=3, adapter=AdapterSettings(rank=3, max_touched=1.0))
    with pytest.raises(ValueError, match=r"steps was 2, now 3; rank was 2, now 3"):
        distill(
            tiny_guider(), data, other, file=file, fingerprint="b", begin=lambda: begun.append(2)
        )
    assert begun == [1]


@pytest.mark.parametrize("kept", [0, 10, 100])
def test_a_damaged_state_is_refused(tmp_path, kept):
    file = tmp_path / "state.safetensors"
    TrainingState("one").save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged"):
        resume(file, "one")


def state_on_disk(file):
    """A state with numbers of all kinds, in half a kilobyte."""
    expert, learner = {"a": torch.arange(6.0).view(2, 3)}, {"b": torch.tensor(7)}
    TrainingState("one", {"steps": 4}, 1, 2, [[0.5], [0.25]], [expert], None, learner).save(file)
    return file.read_bytes()


def test_a_state_with_any_byte_damaged_is_refused(tmp_path):
    """Names, numbers of steps and losses, types, shapes and values."""
    file = tmp_path / "state.safetensors"
    data = state_on_disk(file)
    for place in range(len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match="is damaged .*: delete it to begin again"):
            resume(file, "one")


@pytest.mark.parametrize("mutate", OF_SAFETENSORS)
def test_a_damaged_state_is_refused_or_the_same(tmp_path, mutate):
    file = tmp_path / "state.safetensors"
    data = state_on_disk(file)
    whole, refused = resume(file, "one"), 0
    for number in range(30):
        file.write_bytes(mutate(data, random.Random(number)))
        try:
            assert repr(resume(file, "one")) == repr(whole)
        except ValueError as error:
            assert "delete it to begin again" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_identity_changes_with_every_setting_that_changes_the_result():
    names = {
        training_fingerprint(SETTINGS, "a"),
        training_fingerprint(SETTINGS, "b"),
        training_fingerprint(SETTINGS),
    }
    names |= {training_fingerprint(replace(SETTINGS, steps=13), "a")}
    names |= {training_fingerprint(replace(SETTINGS, adapter=AdapterSettings(rank=3)), "a")}
    assert len(names) == 5
    assert training_fingerprint(SETTINGS, "a") == training_fingerprint(replace(SETTINGS), "a")
