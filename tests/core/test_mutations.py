"""Damaged files end in one line or work; `python -m host.reliability` tries thousands."""

import io
import random

import pytest
from PIL import Image

pytest.importorskip("resource")  # Windows has none; host.mutations limits memory with it

from demo.paths import EXPERTS  # noqa: E402
from host.damage import mutate_json  # noqa: E402
from host.mutations import FINE, KINDS, run_cases  # noqa: E402
from host.training_damage import (  # noqa: E402
    OF_TEXT,
    mutate_json_lines,
    mutate_picture,
    mutate_toml,
)
from ppap_core.expert_file import load_experts  # noqa: E402

NUM = {kind: 40 for kind in KINDS} | {"trainings": 12}  # a training takes seconds


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "expert files")) for kind in KINDS],
)
def test_damaged_files_are_refused_in_one_line_or_work(kind):
    bad = [outcome for outcome in run_cases(kind, NUM[kind]) if outcome.what not in FINE]
    assert not bad


@pytest.mark.parametrize("change", [*OF_TEXT, mutate_json_lines, mutate_picture, mutate_toml])
def test_every_change_to_a_training_depends_on_its_number_and_changes_something(change):
    if change is mutate_toml:
        pytest.importorskip("tomllib")  # from Python 3.11 on
    files = {mutate_toml: b"[distill]\nsteps = 4\n", mutate_picture: png()}
    data = files.get(change, LINES)
    found = [change(data, random.Random(number)) for number in range(40)]
    assert found == [change(data, random.Random(number)) for number in range(40)]
    assert len(set(found)) > 3 and sum(each != data for each in found) > 30


LINES = b'{"file": "images/1.png", "seed": 1}\n{"file": "images/2.png", "seed": 2}\n'


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, format="PNG")
    return file.getvalue()


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
