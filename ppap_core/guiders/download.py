"""Download of a preset from the Hugging Face hub, if the user allows it."""

import os
import re
import tempfile
from pathlib import Path

from ..errors import SettingError, one_line
from ..file_hash import file_sha256
from .presets import Preset


def fetch_preset(
    preset: Preset, root: Path, allow_download: bool, endpoint: str | None = None
) -> Path:
    """Download `preset` into `root`/<repository>, whole or not at all; returns that folder.

    The weights are compared with the SHA-256 that the hub states for them. `endpoint`: the hub's
    address, None for huggingface.co. Raises ValueError, saying which files to download into which
    folder by hand, if `allow_download` is off or the download fails.
    """
    folder = root / preset.repo
    page, names = f"https://huggingface.co/{preset.repo}", ", ".join(preset.files)
    by_hand = f"download {names} from {page} into {folder}"
    if not allow_download:
        raise SettingError(
            f"{preset.repo} is not here ({preset.facts}): {by_hand}",
            allow_download="or let it be downloaded",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a partial download is never listed; on the same disk, to be renamed.
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as partial:
        whole = Path(partial) / "whole"
        try:
            for name in preset.files:
                _fetch(preset, name, whole, endpoint)
        except Exception as error:  # releases of the hub's client differ in the errors they raise
            raise ValueError(
                f"{preset.repo} was not downloaded ({one_line(error)}): {by_hand}"
            ) from error
        os.replace(whole, folder)
    return folder


def _fetch(preset: Preset, name: str, folder: Path, endpoint: str | None) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(preset.repo, name, revision=preset.revision, endpoint=endpoint)
    stated = get_hf_file_metadata(url, token=False)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as cache:
        path = hf_hub_download(
            preset.repo,
            name,
            revision=stated.commit_hash,
            local_dir=cache,
            endpoint=endpoint,
            token=False,
        )
        _check_hash(Path(path), stated.etag or "")
        folder.mkdir(exist_ok=True)
        os.replace(path, folder / name)


def _check_hash(path: Path, etag: str) -> None:
    """OSError unless `path` has the SHA-256 `etag`. Etags of another kind (small files) pass."""
    if not re.fullmatch("[0-9a-f]{64}", etag):
        return
    found = file_sha256(path)
    if found != etag:
        raise OSError(f"{path.name} has SHA-256 {found[:12]}, the hub says {etag[:12]}")
