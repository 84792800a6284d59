"""Find ComfyUI and use it as a library, without its server (read in ComfyUI 0.30.0).

Only the standard library is imported at the top: finding ComfyUI must not wait for torch, and
ComfyUI has to be configured before the first `import comfy`.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..text_files import read_text

PACK_ROOT = Path(__file__).absolute().parents[2]
POINTER = ".comfyui_path"  # a file in the pack's folder that names ComfyUI's


def is_comfyui(folder: Path) -> bool:
    """Whether `folder` holds ComfyUI's source."""
    return all((folder / name).is_file() for name in ("main.py", "nodes.py", "comfy/cli_args.py"))


def find_comfyui(pack_root: Path = PACK_ROOT) -> Path:
    """The folder of ComfyUI.

    It is COMFYUI_PATH if that is set, else the ComfyUI whose custom_nodes holds the pack, else the
    folder that the file `.comfyui_path` in the pack's folder names. FileNotFoundError, in one line,
    if there is none.
    """
    if chosen := os.environ.get("COMFYUI_PATH"):
        if is_comfyui(Path(chosen)):
            return Path(chosen).absolute()
        raise FileNotFoundError(
            f"COMFYUI_PATH is {chosen!r}, which is not a ComfyUI folder (no main.py with comfy/)"
        )
    candidates = [pack_root.parent.parent] if pack_root.parent.name == "custom_nodes" else []
    if (pointer := pack_root / POINTER).is_file():
        candidates.append(pack_root / read_text(pointer).strip())
    for folder in candidates:
        if is_comfyui(folder):
            return folder
    raise FileNotFoundError(
        "ComfyUI was not found: set COMFYUI_PATH to its folder, or run `make host` to fetch one"
    )


def comfyui_version(root: Path) -> str:
    """The version of the ComfyUI in `root`, or "unknown"."""
    file = root / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text("utf-8")) if file.is_file() else None
    return found[1] if found else "unknown"


def has_accelerator() -> bool:
    """Whether torch sees a GPU that ComfyUI would use; without one ComfyUI needs its --cpu."""
    import torch

    xpu = getattr(torch, "xpu", None)
    return (
        torch.cuda.is_available()
        or torch.backends.mps.is_available()
        or (xpu is not None and xpu.is_available())
    )


def booted_comfyui() -> Path | None:
    """The folder of the ComfyUI that this process has already configured, if any."""
    cli_args = sys.modules.get("comfy.cli_args")
    return Path(cli_args.__file__).parents[1] if cli_args else None


def boot(root: Path | None = None, cpu: bool | None = None, extra: Sequence[str] = ()) -> Path:
    """Make ComfyUI's modules importable and configure them; returns ComfyUI's folder.

    `cpu`: True keeps everything on the CPU, False leaves the choice to ComfyUI, None means the CPU
    unless there is an accelerator. `extra`: more of ComfyUI's own flags. Only the first call has an
    effect, and none if ComfyUI already runs in this process. RuntimeError if that is another
    ComfyUI than `root`, FileNotFoundError if there is none.
    """
    booted = booted_comfyui()
    if booted is not None:
        if root is not None and Path(root).resolve() != booted.resolve():
            raise RuntimeError(
                f"ComfyUI already runs in this process from {booted}: {root} needs another process"
            )
        return booted
    root = Path(root).absolute() if root is not None else find_comfyui()
    if not is_comfyui(root):
        raise FileNotFoundError(f"{root} is not a ComfyUI folder (no main.py with comfy/)")
    if cpu is None:
        cpu = not has_accelerator()
    sys.path.insert(0, str(root))  # first: the pack has a nodes/ as well, ComfyUI's must win
    _parse_flags([*(["--cpu"] if cpu else []), *extra])
    return root


def _parse_flags(flags: list[str]) -> None:
    """Give ComfyUI its flags in place of ours.

    It reads sys.argv once, when comfy.cli_args is imported, and exits at a flag it does not know.
    """
    saved, sys.argv = sys.argv, [sys.argv[0], *flags]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401  (the import is what parses)
    finally:
        sys.argv = saved
