"""Where ComfyUI is looked for, and how it is fetched."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from host import fetch
from ppap_core.comfy_bridge.headless import POINTER, boot, find_comfyui

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_chosen_host(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)


# --- finding it


def test_comfyui_path_comes_before_custom_nodes_and_fetched_comfyui(
    tmp_path, monkeypatch, empty_comfyui
):
    above = empty_comfyui(tmp_path / "above")
    pack = above / "custom_nodes" / "pack"
    fetched = empty_comfyui(tmp_path / "fetched")
    pack.mkdir(parents=True)
    (pack / POINTER).write_text(f"{fetched}\n")
    chosen = empty_comfyui(tmp_path / "chosen")

    assert find_comfyui(pack) == above
    monkeypatch.setenv("COMFYUI_PATH", str(chosen))
    assert find_comfyui(pack) == chosen
    monkeypatch.delenv("COMFYUI_PATH")
    (above / "main.py").unlink()
    assert find_comfyui(pack) == fetched


def test_comfyui_above_is_used_only_from_custom_nodes(tmp_path, empty_comfyui):
    pack = empty_comfyui(tmp_path / "above") / "somewhere" / "pack"
    pack.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="set COMFYUI_PATH"):
        find_comfyui(pack)


def test_wrong_comfyui_path_is_refused_even_if_another_comfyui_exists(
    tmp_path, monkeypatch, empty_comfyui
):
    empty_comfyui(fetch.fetched_comfyui(tmp_path))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="COMFYUI_PATH is .*nothing"):
        fetch.ensure_comfyui(tmp_path)


def test_boot_refuses_a_folder_without_comfyui(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "comfy.cli_args", raising=False)
    with pytest.raises(FileNotFoundError, match="not a ComfyUI folder"):
        boot(tmp_path, cpu=True)


# --- fetching it


def make_archive(path: Path, *members: tarfile.TarInfo | str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = 2 if info.isfile() else 0
            tar.addfile(info, io.BytesIO(b"ok"))
    return path


def test_archive_with_another_hash_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    archive = make_archive(tmp_path / "other.tar.gz", "p-1/vendor/ComfyUI/main.py")
    monkeypatch.setattr(fetch, "download", lambda *_: archive)
    with pytest.raises(fetch.HostError, match="expected SHA-256 de5d0c32.*, got "):
        fetch.ensure_comfyui(tmp_path)
    assert list((tmp_path / ".host").iterdir()) == []


def test_only_comfyuis_folder_is_unpacked(tmp_path):
    names = ["p-1/setup.py", "p-1/vendor/ComfyUI/main.py", "p-1/vendor/ComfyUI/comfy/sd.py"]
    fetch.unpack(make_archive(tmp_path / "a.tar.gz", *names), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.py")) == ["main.py", "sd.py"]
    assert (tmp_path / "out" / "comfy" / "sd.py").read_text() == "ok"


def link_to_outside() -> tarfile.TarInfo:
    info = tarfile.TarInfo("p-1/vendor/ComfyUI/link")
    info.type, info.linkname = tarfile.SYMTYPE, "/"
    return info


@pytest.mark.parametrize("member", ["p-1/vendor/ComfyUI/../../../evil.py", link_to_outside()])
def test_archive_that_reaches_outside_is_refused(tmp_path, member):
    archive = make_archive(tmp_path / "a.tar.gz", member)
    with pytest.raises(fetch.HostError, match="not a plain file"):
        fetch.unpack(archive, tmp_path / "deep" / "er" / "out")
    assert not list(tmp_path.rglob("evil.py"))


def test_without_network_there_is_one_clear_line(tmp_path):
    code = "import sys; from pathlib import Path; from host.fetch import main; "
    code += f"sys.exit(main(Path({str(tmp_path)!r})))"
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "COMFYUI_PATH" in line and fetch.PACKAGE in line
