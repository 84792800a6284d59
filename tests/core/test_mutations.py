"""Damaged files end in one line or work; `python -m host.reliability` tries thousands."""

import random

import pytest

pytest.importorskip("resource")  # Windows has none; host.mutations limits memory with it

from demo.paths import EXPERTS  # noqa: E402
from host.damage import mutate_json  # noqa: E402
from host.mutations import FINE, KINDS, run_cases  # noqa: E402
from ppap_core.expert_file import load_experts  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line_or_work(kind):
    bad = [outcome for outcome in run_cases(kind, 40) if outcome.what not in FINE]
    assert not bad


def test_a_mutation_changes_one_place_and_depends_on_its_number_only():
    value = {"a": [1, 2, {"b": 3}], "c": "x"}
    found = [repr(mutate_json(value, random.Random(number))) for number in range(50)]
    assert found == [repr(mutate_json(value, random.Random(number))) for number in range(50)]
    assert len(set(found)) > 10
    assert value == {"a": [1, 2, {"b": 3}], "c": "x"}


def test_safetensors_header_longer_than_the_file_is_refused(tmp_path):
    """A header that claims 2^62 bytes is refused before anything is read."""
    path = tmp_path / "huge.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + EXPERTS.read_bytes()[8:])
    with pytest.raises(ValueError, match="'huge.safetensors'"):
        load_experts(path)
