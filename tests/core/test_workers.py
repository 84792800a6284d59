"""Two processes, joined by gloo, do together what one does alone."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ppap_core.distillation import workers
from ppap_core.distillation.batch import Piece
from ppap_core.distillation.distill import LOOKS, distill
from ppap_core.distillation.generate import GenerateSettings, generate
from ppap_core.distillation.images import load_images, read_manifest
from ppap_core.distillation.learner import Learner
from ppap_core.distillation.pictures import Pictures
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing

ROOT = Path(__file__).parents[2]
BY_BATCH = AdapterSettings(rank=2, max_touched=1.0, norm_statistics="batch")
SETTINGS = DistillSettings(adapter=BY_BATCH)


def tiny_guider() -> Guider:
    """With BatchNorm."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    nn.init.normal_(net[1].running_mean)
    info = GuiderInfo("timm/net", "net", "class", tuple("abcd"), "f" * 64)
    return Guider(net, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), info)


def learn() -> dict:
    """Gradients of one step and the statistics after it."""
    learner = Learner(tiny_guider(), SETTINGS, steps=1)
    image, answer = torch.randn(11, 3, 8, 8), torch.randn(11, 4)
    cuts = workers.share_of(len(image), SETTINGS.accumulation)
    pieces = [Piece(image[cut], (8, 8), answer[cut], len(answer[cut]) / 11) for cut in cuts]
    loss = learner.learn(pieces)
    gradients = {f"gradient {i}": p.grad for i, p in enumerate(learner.student.trainable())}
    statistics = {k: v for k, v in learner.student.tensors().items() if "running" in k}
    return {"loss": loss.reshape(1), **gradients, **statistics}


def paint(seeds, prompts) -> Pictures:
    noise = [torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return Pictures(torch.stack(noise), None)


def judged() -> dict:
    """Experts of a training, each of whose processes would keep the weights of another look."""
    looks, best = itertools.count(), 3 + 4 * workers.rank()
    settings = replace(SETTINGS, num_experts=2, steps=2 * LOOKS, batch_size=6, warm_up_steps=2)
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator())
    data = TrainingSet(images, torch.eye(4).repeat(5, 1))

    def judge(_) -> float:
        return abs(next(looks) % (LOOKS + 1) - best)

    made = distill(tiny_guider(), data, settings, judge=judge)
    tensors = {
        f"{i}/{k}": v for i, one in enumerate(made.experts.experts) for k, v in one.tensors.items()
    }
    return {"kept": torch.tensor(made.kept), **tensors}


def work(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    workers.connect_workers(cpu=True)
    source = {"checkpoint": "a", "fingerprint": "1", "latent_format": "x"}
    generate(paint, GenerateSettings(num_images=11, batch_size=2), folder / "images", source)
    save_file(learn(), folder / f"experts{workers.rank()}.safetensors")
    save_file(judged(), folder / f"judged{workers.rank()}.safetensors")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    code = "import sys; sys.path.insert(0, 'tests/core'); from test_workers import *; "
    command = [sys.executable, "-c", code + f"work(Path({str(folder)!r}))"]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    return folder


def test_processes_together_generate_what_one_process_generates(two_processes, tmp_path):
    source = {"checkpoint": "a", "fingerprint": "1", "latent_format": "x"}
    generate(paint, GenerateSettings(num_images=11, batch_size=2), tmp_path, source)
    assert load_images(two_processes / "images").equal(load_images(tmp_path))
    assert read_manifest(two_processes / "images") == read_manifest(tmp_path)
    assert (two_processes / "images/manifest.1.jsonl").is_file()


def test_gradients_and_statistics_are_those_of_one_process(two_processes):
    """11 images, so the shares are not equal."""
    alone = learn()
    for rank in (0, 1):
        together = load_file(two_processes / f"experts{rank}.safetensors")
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(together[key], value, rtol=1e-5, atol=1e-5, msg=key)


def test_processes_keep_the_same_weights_even_if_they_judge_differently(two_processes):
    first, second = (load_file(two_processes / f"judged{rank}.safetensors") for rank in (0, 1))
    assert first["kept"].tolist() == [6, 6]  # the first process' best look
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=0, msg=key)


def test_processes_shares_of_a_batch_are_disjoint_and_complete():
    assert workers.share_of(10, 3) == [slice(0, 3), slice(3, 6), slice(6, 10)]
    cuts = workers.share_of(2, 3)
    assert [i for cut in cuts for i in range(2)[cut]] == [0, 1]
