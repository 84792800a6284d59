"""What other libraries report, in one line for the user."""

import pytest
from torch import nn

from ppap_core.errors import SettingError, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a wheel\n  is missing"), "a wheel is missing"),
        (OSError("no such file"), "no such file"),
        (KeyError("wheel"), "KeyError: 'wheel'"),
        (TypeError("takes 2 wheels"), "TypeError: takes 2 wheels"),
        (ValueError(), "ValueError"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("ERROR: Could not detect the model"), "Could not detect the model"),
        (ValueError("x" * 400), "x" * 300 + " ..."),
    ],
)
def test_an_error_is_one_line(error, line):
    assert one_line(error) == line


def test_torchs_heading_is_left_out():
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(2, 2).load_state_dict({})
    assert one_line(caught.value).startswith('Missing key(s) in state_dict: "weight", "bias"')


FLAGS = {"out": "--out", "overwrite": "--overwrite", "vae": "--vae"}


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (FLAGS, "x exists: choose another name (--out), or overwrite it (--overwrite)"),
        ({"name": "widget name"}, "x exists: choose another name (widget name)"),
        ({}, "x exists"),
    ],
)
def test_a_setting_error_names_only_what_its_reader_has(places, told):
    another = "choose another name"
    error = SettingError("x exists", out=another, name=another, overwrite="overwrite it")
    assert error.told(places.get) == told
    assert error.remedies.keys() == {"out", "name", "overwrite"}


def test_a_setting_error_about_one_setting_names_its_place():
    error = SettingError("there is no sampler 'x'", "sampler_name")
    assert error.told({"sampler_name": "--sampler-name"}.get) == f"{error} (--sampler-name)"
    assert error.told({}.get) == str(error) == "there is no sampler 'x'"
