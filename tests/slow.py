"""Cases of a test that only `make test-full` runs."""

import pytest


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)
