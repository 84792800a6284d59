"""What other libraries report, in one line for the user."""

import pytest
from torch import nn

from ppap_core.errors import last_error_line, one_line


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


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("WARNING: old\nERROR: first\nERROR: no network\n\nbye\n", "no network"),
        ("one\n two \n", "two"),
        ("\n", "no message"),
    ],
)
def test_the_last_error_line_of_a_program(output, line):
    assert last_error_line(output) == line
