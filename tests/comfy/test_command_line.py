"""`python -m training` as a person types it, in a process of its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from demo.paths import EXPERTS, GUIDER, PIXEL_MODEL
from ppap_core.distillation.images import write_source
from ppap_core.expert_file import load_experts, save_experts
from ppap_core.guiders import load_guider
from tests.slow import slow

ROOT = Path(__file__).parents[2]
SMALL = "--num-images 20 --generate-steps 3 --num-experts 2 --steps 3 --batch-size 8".split()


def training(*flags):
    command = [sys.executable, "-m", "training", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def train(out, *flags, command="all"):
    given = ("--checkpoint", PIXEL_MODEL, "--guider", GUIDER, "--out", out)
    return training(command, *given, *SMALL, *flags)


def test_all_trains_experts(tmp_path):
    out = tmp_path / "mine.safetensors"
    done = train(out)
    assert done.returncode == 0, done.stderr
    experts = load_experts(out)
    assert experts.for_guider(load_guider(GUIDER))
    assert experts.header.training["num_images"] == 18
    for name in ("config.toml", "report.md", "agreement.png", "generated/manifest.jsonl"):
        assert (tmp_path / "mine.run" / name).is_file(), name
    assert (tmp_path / "mine.preview.png").is_file()


def test_an_expert_file_is_not_overwritten(tmp_path):
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"mine")
    done = train(out)
    assert done.returncode == 1 and "exists: choose another file (--out)" in done.stderr
    assert "(--overwrite)" in done.stderr and "Traceback" not in done.stderr
    assert out.read_bytes() == b"mine" and [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.slow
def test_a_saved_configuration_trains_the_same_experts_and_others_where_asked(tmp_path):
    out = tmp_path / "mine.safetensors"
    done = train(out)
    assert done.returncode == 0, done.stderr
    before, config = out.read_bytes(), tmp_path / "mine.run" / "config.toml"
    repeated = training("distill", "--config", config, "--overwrite")
    assert repeated.returncode == 0, repeated.stderr
    assert out.read_bytes() == before
    other = training("distill", "--config", config, "--overwrite", "--steps", "4")
    assert other.returncode == 0, other.stderr
    assert out.read_bytes() != before and load_experts(out).header.training["steps"] == 4
    shown = training("inspect", out)
    assert "timm/demo-shapes-resnet" in shown.stdout and "they read x0_hat" in shown.stdout


@pytest.mark.slow
def test_stages_can_be_run_one_by_one(tmp_path):
    """Without --out: pictures are drawn into a folder, and experts are evaluated on them."""
    given = ("--checkpoint", PIXEL_MODEL, "--images", tmp_path / "pictures")
    drawn = training("generate", *given, *"--num-images 12 --steps 3 --batch-size 6".split())
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 12
    judged = training("evaluate", *given, "--guider", GUIDER, "--experts", EXPERTS)
    assert judged.returncode == 0, judged.stderr
    assert "[0.01," in judged.stdout and judged.stdout.count("%") >= 10
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    of_states = load_experts(EXPERTS)
    of_states = replace(of_states, header=replace(of_states.header, input="x_t"))
    save_experts(of_states, tmp_path / "x_t.safetensors")
    given = (*given, "--guider", GUIDER, "--experts", tmp_path / "x_t.safetensors")
    on_noise = [training("evaluate", *given, *more) for more in ((), ("--estimates", "fresh"))]
    assert on_noise[0].stdout == on_noise[1].stdout != judged.stdout


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path):
    done = train(tmp_path / "mine.safetensors", "--dry-run")
    assert done.returncode == 0, done.stderr
    for word in ("parameters", "steps       6 of 8 images", "20 to sample", "memory", "time"):
        assert word in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        slow(["--guider", "nowhere"], "no guider 'nowhere' in "),
        slow(["--steps", "0"], "steps has to be at least 1"),
        slow(["--checkpoint", "README.md"], "README.md' is not a model file that ComfyUI can read"),
        slow(["--checkpoint", "no.safetensors"], "there is no checkpoint no.safetensors"),
        slow(["--prompts", "no.txt"], "there is no prompt file no.txt"),
        slow(["--guider", "timm/resnet50.a1_in1k"], "licence Apache-2.0): download config.json"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, flags, message):
    done = train(tmp_path / "mine.safetensors", *flags)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_pictures_of_another_checkpoint_are_refused(tmp_path):
    images = tmp_path / "images"
    (images / "images").mkdir(parents=True)
    write_source(images, {"checkpoint": "other", "fingerprint": "0"})
    done = train(tmp_path / "mine.safetensors", "--images", images)
    assert done.returncode == 1 and "are from other" in done.stderr and "(--force)" in done.stderr
