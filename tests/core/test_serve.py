"""The server's own folders, its port, and what it says when it does not start."""

import socket

import pytest

from host.serve import ComfyServer, build_base_directory, find_free_port


def test_base_directory_holds_the_pack(tmp_path):
    pack = tmp_path / "pack"
    (pack / "nodes").mkdir(parents=True)
    for _ in range(2):  # a second start finds the link of the first
        build_base_directory(tmp_path / "base", pack)
    assert (tmp_path / "base/custom_nodes/comfyui-ppap/nodes").is_dir()


def test_pack_is_copied_where_links_cannot_be_made(tmp_path, no_links):
    for name in ("nodes/types.py", "demo/run.py", "demo/models/big.safetensors", ".venv/x"):
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True)
        path.touch()
    for _ in range(2):
        build_base_directory(tmp_path / "base", tmp_path / "pack")
    copy = tmp_path / "base/custom_nodes/comfyui-ppap"
    files = [path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()]
    assert sorted(files) == ["demo/models/big.safetensors", "nodes/types.py"]


def test_taken_port_is_not_chosen():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert find_free_port(taken) != taken


def test_server_that_dies_shows_the_end_of_its_log(tmp_path, monkeypatch, empty_comfyui):
    comfyui = empty_comfyui(tmp_path / "ComfyUI")
    (comfyui / "main.py").write_text("raise SystemExit('the reason')")
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    with pytest.raises(RuntimeError, match="the reason"), ComfyServer(tmp_path / "base", cpu=True):
        pass
