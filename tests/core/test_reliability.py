"""The page of `python -m host.reliability`, and the hard times of a training."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")  # Windows has none

from host.hard_times import TIMES, Writes, full_disk  # noqa: E402
from host.reliability import TESTS, any_number, read_rows, write_row  # noqa: E402
from ppap_core.distillation.files import TrainingFiles  # noqa: E402
from ppap_core.errors import SettingError  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_a_row_is_replaced_and_the_others_stay_in_their_order(tmp_path):
    page = tmp_path / "page.md"
    write_row(page, "kill", 3, "kept")
    write_row(page, "graphs", 5, "old")
    write_row(page, "graphs", 200, "new")
    titles = [TESTS["graphs"].title.format(num=200), TESTS["kill"].title.format(num=3)]
    assert list(read_rows(page).items()) == list(zip(titles, ("new", "kept"), strict=True))


def test_the_shipped_page_has_known_rows_only():
    known = {any_number(test.title.format(num=0)) for test in TESTS.values()}
    rows = read_rows(ROOT / "docs" / "reliability.md")
    assert rows and {any_number(title) for title in rows} <= known


def test_a_full_disk_is_felt_from_the_chosen_write_on_and_only_below_its_folder(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    (inside / "read").write_text("there")
    writes = Writes()
    with writes.refusing(inside, lambda n, path: full_disk(path) if n >= 3 else None):
        (inside / "one").write_text("1")
        (inside / "two").mkdir()
        outside.write_text("free")
        assert (inside / "read").read_text() == "there"
        for write in (
            lambda: (inside / "three").write_text("3"),
            lambda: (inside / "four").mkdir(),
            lambda: os.replace(inside / "one", inside / "five"),
        ):
            with pytest.raises(OSError, match="No space left"):
                write()
    assert writes.count == 5
    (inside / "three").write_text("3")


@pytest.mark.parametrize("setting", ["out", "run", "images"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_made(tmp_path, setting):
    files = {"out": "a/x.safetensors", "run": "b/run", "images": "c/pictures"}
    locked = tmp_path / files[setting][0]
    locked.mkdir()
    training = TrainingFiles(**{name: str(tmp_path / path) for name, path in files.items()})
    writes = Writes()
    with writes.refusing(locked, lambda n, path: OSError(errno.EROFS, "Read-only file system")):
        with pytest.raises(SettingError, match="nothing can be written to .*Read-only") as refused:
            training.check_out()
    assert refused.value.setting == setting
    training.check_out()
    assert list(tmp_path.iterdir()) == [locked] and not list(locked.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMES)
def test_a_training_gets_through_hard_times(name):
    command = [sys.executable, "-m", "host.hard_times", name, "--most", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "FAULTS" not in ended.stdout and "the same expert file" in ended.stdout
