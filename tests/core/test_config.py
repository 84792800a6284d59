"""Flags over a TOML file over defaults; nonsense is refused before anything is loaded."""

from pathlib import Path

import pytest
import timm
import torch

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
        ("[distil]\nsteps = 1", r"unknown in the configuration: \[distil\] steps"),
        ("[distill]\nstep = 1", r"\[distill\] step"),
        ("steps = 1", "steps stand outside of a"),
        ("[distill]\nsteps = 0", "steps has to be at least 1"),
        ("[distill]\nsteps = 'many'", "steps has to be of type int, got 'many'"),
        ("[distill", "c.toml: "),
    ],
)
def test_a_bad_file_is_refused_with_the_name_of_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        config_of("--config", str(file))


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
