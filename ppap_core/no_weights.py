"""What a file is that should hold weights and does not, as far as its first bytes tell."""

from pathlib import Path

PICKLES = (".pth", ".pt", ".bin", ".ckpt")  # to open one is to run what it says
WHAT_IT_IS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: run git lfs pull",
    b"<!doctype": "is a web page, not the file itself",
    b"<html": "is a web page, not the file itself",
}


def how_to_convert(path: Path, out: Path) -> str:
    """What a person can do with the pickle `path`; `out` as in guiders/convert.py."""
    return (
        f"look for a safetensors copy, or, if you trust the file, make one: in this pack's folder, "
        f'with ComfyUI\'s Python, run python -m training convert "{path}" --out "{out}"'
    )


def what_it_is(path: Path, otherwise: str) -> str:
    """What follows the name of `path` in a message: something known, else `otherwise`."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    known = (words for sign, words in WHAT_IT_IS.items() if start.startswith(sign))
    words = next(known, None)
    return f"{words}, or download it again" if words else otherwise
