"""Run ComfyUI with this pack and the models in it: `python -m host.serve [--port N]`."""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from host.client import request_json
from host.fetch import HostError, ensure_comfyui
from ppap_core.comfy_bridge.headless import PACK_ROOT, has_accelerator

PACK_FOLDER = "comfyui-ppap"
UNUSED = ("training", "host", "evidence", "tests", "docs")  # by the nodes
IGNORED = shutil.ignore_patterns(".*", "__pycache__", *UNUSED)


def build_base_directory(base: Path, pack_root: Path = PACK_ROOT) -> None:
    """Make the folders that ComfyUI reads and writes, with the pack among its custom nodes."""
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link_pack(base / "custom_nodes" / PACK_FOLDER, pack_root)


def link_pack(link: Path, pack_root: Path) -> None:
    """Make the pack a custom node: by a symbolic link, or a fresh copy where none can be made."""
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    try:
        link.symlink_to(pack_root, target_is_directory=True)
    except OSError:
        shutil.copytree(pack_root, link, ignore=left_out)


def left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy of the pack does without; of the demo it has the models, as the archive does."""
    if Path(folder).name == "demo":
        return {name for name in names if name != "models"}
    return IGNORED(folder, names)


def find_free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            if os.name == "posix":  # as the server does: a port in TIME_WAIT counts as free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("there is no free port on 127.0.0.1")


class ComfyServer:
    """A ComfyUI server with this pack, in a process of its own: `with ComfyServer(base) as server`.

    `base`: folder for its files. `cpu`: as in headless.boot. `port`: None takes a free one.
    `extra`: more of ComfyUI's flags. `root`: ComfyUI's folder; None finds or fetches one. `pack`:
    another folder that holds the pack.
    """

    def __init__(
        self,
        base: Path,
        cpu: bool | None = None,
        port: int | None = None,
        extra: Sequence[str] = (),
        root: Path | None = None,
        pack: Path = PACK_ROOT,
    ):
        self.base, self.root, self.pack = Path(base).absolute(), root, pack
        self.port = port or find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = self.base / "comfyui.log"
        self._cpu, self._extra = cpu, extra
        self._process: subprocess.Popen | None = None

    def command(self, root: Path) -> list[str]:
        """The command line that starts the server."""
        cpu = not has_accelerator() if self._cpu is None else self._cpu
        command = [sys.executable, "-u", str(root / "main.py"), "--disable-auto-launch"]
        command += ["--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:"]
        command += ["--disable-api-nodes"]  # of paid services: slow, and they call other servers
        return [*command, *(["--cpu"] if cpu else []), *self._extra]

    def start(self, timeout: float = 300.0) -> None:
        """Start the server and return when it answers.

        Raises RuntimeError with the end of the log if it stops, TimeoutError if it is too slow.
        """
        root = self.root or ensure_comfyui()
        build_base_directory(self.base, self.pack)
        command = self.command(root)
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI did not start; its log ends with:\n{self.log_end()}")
            try:
                request_json(f"{self.url}/system_stats", timeout=5.0)
                return
            except OSError:  # URLError among them: nothing listens yet
                time.sleep(0.2)
        raise TimeoutError(f"ComfyUI does not answer after {timeout:g} s; see {self.log_file}")

    @property
    def process_id(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """All output of the server so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def log_end(self, lines: int = 20) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def wait(self) -> int:
        """Wait until the server stops by itself; returns its exit status."""
        return self._process.wait()

    def stop(self) -> None:
        """Stop the server; harmless if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "ComfyServer":
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(port: int, cpu: bool | None, extra: Sequence[str]) -> int:
    """Run the server until it is interrupted."""
    server = ComfyServer(PACK_ROOT / ".host" / "base", cpu, find_free_port(port), extra)
    say(f"Starting ComfyUI (log: {server.log_file}) ...")
    with server:
        say(f"ComfyUI runs at {server.url}    (Ctrl+C stops it)")
        return server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m host.serve",
        description="Run ComfyUI with this pack. Flags not listed here are handed to ComfyUI.",
    )
    parser.add_argument("--port", type=int, default=8188, help="a free one if this is taken")
    parser.add_argument("--cpu", action="store_true", default=None, help="even if there is a GPU")
    args, extra = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leave by way of ComfyServer.stop
    try:
        return serve(args.port, args.cpu, extra)
    except KeyboardInterrupt:
        return 0
    except (HostError, FileNotFoundError, RuntimeError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
