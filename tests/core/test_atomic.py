"""Files are either whole or as they were."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ppap_core.atomic import check_writable, load_safetensors, save_safetensors
from ppap_core.distillation.images import append_manifest, read_manifest
from ppap_core.distillation.rows import RowWriter
from ppap_core.errors import SettingError


def test_tensors_and_metadata_come_back_bit_for_bit(tmp_path):
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.tensor(2), "c": torch.randn(2).half()}
    path = tmp_path / "new" / "folder" / "file.safetensors"
    save_safetensors(tensors, path, {"key": "value"})
    back = load_file(path)
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype and back[name].equal(value)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"key": "value"}


def test_saved_file_has_the_usual_permissions(tmp_path):
    other, path = tmp_path / "other", tmp_path / "file.safetensors"
    other.touch()
    save_safetensors({"a": torch.zeros(2)}, path)
    assert path.stat().st_mode == other.stat().st_mode


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "file.safetensors"
    save_safetensors({"a": torch.zeros(2)}, path)
    save_safetensors({"a": torch.ones(3)}, path)
    assert load_file(path)["a"].equal(torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_former_file_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "file.safetensors"
    save_safetensors({"a": torch.ones(3)}, path)
    former = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=f"{path.name} cannot be written"):
            save_safetensors({"a": torch.ones(100_000)}, path)
        with pytest.raises(OSError, match="manifest.jsonl"):
            append_manifest(tmp_path / "images", [{"file": "a" * 4000, "seed": 1}] * 3)
        with pytest.raises(OSError, match="rows.npy"):
            RowWriter(tmp_path / "images" / "rows.npy").append(torch.ones(100, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == former
    assert list(tmp_path.glob("*.safetensors*")) == [path]
    append_manifest(tmp_path / "images", [{"file": "b", "seed": 2}])  # there is room again
    assert {"file": "b", "seed": 2} in read_manifest(tmp_path / "images")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_to_is_known_beforehand(tmp_path, there):
    folder = tmp_path / "new" / "folder"
    if there:
        folder.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    check_writable(folder, "run")
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="nothing can be written to .*file") as refused:
        check_writable(tmp_path / "file" / "below", "run")
    assert refused.value.setting == "run"


def test_failed_replacement_leaves_no_temporary_file(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError):
        save_safetensors({"a": torch.ones(3)}, tmp_path / "folder.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_the_same_contents_give_the_same_bytes(tmp_path):
    """Safetensors itself shuffles the metadata."""
    metadata = {f'key {i} "\\ü\n\x7f': "é" * i for i in range(30)}
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
    for name in ("one", "two", "three"):
        save_safetensors(tensors, tmp_path / name, metadata)
    assert len({(tmp_path / name).read_bytes() for name in ("one", "two", "three")}) == 1
    with safe_open(tmp_path / "one", "pt") as file:
        assert file.metadata() == metadata
        assert file.get_tensor("b").equal(tensors["b"])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_file_is_not_kept_mapped_after_reading(tmp_path):
    """Windows refuses to replace a file that is still mapped."""
    path = tmp_path / "let_go.safetensors"
    saved = {"a": torch.randn(1000), "b": torch.tensor([1, 2])}
    save_safetensors(saved, path, {"key": "value"})
    metadata, tensors = load_safetensors(path)
    assert metadata == {"key": "value"}
    assert all(tensors[name].equal(value) for name, value in saved.items())
    assert path.name not in Path("/proc/self/maps").read_text()
    mapped = load_file(path)  # what safetensors itself gives: the test can fail
    assert path.name in Path("/proc/self/maps").read_text()
    del mapped
