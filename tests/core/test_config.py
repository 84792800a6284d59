"""Flags over a TOML file over defaults; nonsense is refused before anything is loaded."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch

from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.student import Student, count_trainable
from ppap_core.noise import sigma_ve_to_timestep
from training.__main__ import build_parser, check_given
from training.config import Config, read_config

PAPER = Path(__file__).parents[2] / "training" / "presets" / "paper.toml"
GIVEN = ["all", "--checkpoint", "a", "--guider", "g", "--out", "x.safetensors"]


def config_of(*flags):
    return read_config(build_parser().parse_args([*GIVEN, *flags]))


def test_flags_override_the_config_file_and_the_file_overrides_defaults(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[distill]\nsteps = 7\ntemperature = 0.5\n[adapter]\nrank = 3\n")
    config = config_of("--config", str(file), "--steps", "9")
    assert (config.distill.steps, config.distill.temperature) == (9, 0.5)
    assert config.distill.adapter.rank == 3
    assert config.distill.batch_size == Config().distill.batch_size


def test_saved_config_can_be_read_back(tmp_path):
    config = config_of("--num-images", "12", "--channels-last", "--out", 'a "b"\\c.safetensors')
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml(), encoding="utf-8")
    again = read_config(build_parser().parse_args(["distill", "--config", str(file)]))
    assert again == config


def test_settings_that_two_stages_share_get_a_prefix():
    config = config_of("--steps", "5", "--generate-steps", "50", "--generate-batch-size", "2")
    assert (config.distill.steps, config.generate.steps) == (5, 50)
    assert (config.distill.batch_size, config.generate.batch_size) == (64, 2)


def test_flag_of_a_single_stage_has_no_prefix():
    args = build_parser().parse_args(["generate", "--steps", "50"])
    assert read_config(args).generate.steps == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[distil]\nsteps = 1", r"no section \[distil\]: did you mean distill"),
        ("[distil]", r"no section \[distil\]: did you mean distill"),
        ("[distill]\nstep = 1", r"no setting \[distill\] step: did you mean steps"),
        ("[distill]\nadapter = 3", r"belong in the section \[adapter\]"),
        ("[distill.adapter]\nrank = 4", r"belong in the section \[adapter\]"),
        ("steps = 1", "put steps below a"),
        ("[distill]\nsteps = 0", "steps has to be at least 1"),
        ("[distill]\nsteps = 'many'", r"\[distill\] steps has to be a whole number, got 'many'"),
        ("[generate]\nsteps = 2.5", r"\[generate\] steps has to be a whole number, got 2.5"),
        ("[generate]\ncfg = '7'", r"\[generate\] cfg has to be a finite number, got '7'"),
        ("[generate]\nwidth = -64", "width has to be at least 0, got -64"),
        ("[files]\noverwrite = 'no'", r"\[files\] overwrite has to be true or false, got 'no'"),
        ("[files]\nlabels = 'no.csv'", "no file of labels no.csv"),
        ("[adapter]\nfull = 'false'", r"\[adapter\] full has to be true or false"),
        (
            "[distill]\nseed = 18446744073709551616",
            r"seed has to be at least 0 and at most \d+",
        ),
        (f"[generate]\ncfg = 1{'0' * 400}", r"\[generate\] cfg has to be a finite number"),
        ("[generate]\nnum_images = 1000000000000", "num_images has to be at least 1 and at most"),
        ("[distill]\nnum_experts = 1000000", "num_experts has to be at least 1 and at most 100"),
        ("[distill]\nlearning_rate = nan", "learning_rate has to be a finite number, got nan"),
        ("[distill]\nsteps = 2026-11-26", "steps has to be a whole number, got datetime"),
        ("[distill]\nview = ['vae']", r"view has to be text, got \['vae'\]"),
        ("[sources]\nvae = {name = 'x'}", "vae has to be text, got"),
        ("[distill]\nsteps = 1\nsteps = 2", "c.toml: "),
        ("[distill", "c.toml: "),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "c.toml is no text, or damaged: save it as text"),
    ],
)
def test_a_bad_file_is_refused_with_the_name_of_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "c.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        config_of("--config", str(file))


def test_a_missing_file_is_named_once_and_a_byte_order_mark_is_read(tmp_path):
    with pytest.raises(ValueError) as raised:
        config_of("--config", str(tmp_path / "no.toml"))
    assert str(raised.value).count("no.toml") == 1
    file = tmp_path / "c.toml"
    file.write_text("[distill]\nsteps = 7\n", encoding="utf-8-sig")
    assert config_of("--config", str(file)).distill.steps == 7


def test_a_whole_number_is_the_same_setting_with_and_without_a_point():
    one, other = DistillSettings(temperature=1, steps=7.0), DistillSettings(steps=7)
    assert json.dumps(asdict(one)) == json.dumps(asdict(other))


def test_a_wrong_flag_is_named_in_short(capsys):
    with pytest.raises(SystemExit):
        config_of("--view", "nope")
    shown = capsys.readouterr().err
    assert "--view" in shown and "'nope'" in shown and shown.count("\n") == 2


def test_help_shows_defaults_of_zero_and_only_flags_that_count(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["generate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "usual one for the model (default: 0)" in shown and "--guider" not in shown
    with pytest.raises(SystemExit):
        build_parser().parse_args(["evaluate", "--help"])
    shown = capsys.readouterr().out
    assert "--experts EXPERTS" in shown and "--steps" not in shown and "--rank" not in shown


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("all", "--guider and --out"),
        ("generate", "--images"),
        ("evaluate", "--guider and --images"),
    ],
)
def test_missing_flags_of_a_command_are_named(command, missing):
    flags = ["--experts", "e"] if command == "evaluate" else []
    args = build_parser().parse_args([command, "--checkpoint", "a", *flags])
    with pytest.raises(ValueError, match=f"{command} needs {missing}"):
        check_given(command, read_config(args))


@pytest.mark.parametrize(
    "network, flags, published",
    [
        ("resnet50", [], 1_459_632),
        (
            "deit_small_patch16_224",
            ["--rank", "32", "--lora-alpha", "8", "--target-modules", r".*attn\.(qkv|proj)"],
            937_192,
        ),
    ],
)
def test_the_papers_preset_trains_as_many_parameters_as_the_paper_says(network, flags, published):
    """All but norms and the head's bias, which the paper trains in part."""
    config = config_of("--config", str(PAPER), *flags)
    student = Student(timm.create_model(network), config.distill.adapter)
    assert student.spec.rank == config.distill.adapter.rank
    assert count_trainable(student) == pytest.approx(published, rel=0.03)


def test_the_papers_preset_has_the_papers_ranges():
    ranges = config_of("--config", str(PAPER)).distill.ranges()
    ends = sigma_ve_to_timestep(torch.tensor([r.high for r in ranges[:-1]]))
    assert ends.round(decimals=1).tolist() == [199.5, 399.5, 599.5, 799.5]
