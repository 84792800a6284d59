"""Where a training reads and writes."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError
from .declaration import check_settings, setting


@dataclass(frozen=True)
class TrainingFiles:
    """Only `out` or `images` has to be named; the other folders lie beside them."""

    out: str = setting("", "expert file to write")
    images: str = setting("", "folder of pictures (default: inside the run's folder)")
    run: str = setting(
        "", "folder for the run's state and report (default: beside the expert file)"
    )
    labels: str = setting("", "CSV file,class: learn from labels instead (the supervised baseline)")
    overwrite: bool = setting(False, "replace an expert file that exists")
    force: bool = setting(
        False, "use pictures of another checkpoint, or sampled with other settings"
    )

    def __post_init__(self):
        check_settings(self)
        if self.labels and not Path(self.labels).is_file():
            raise SettingError(f"there is no file of labels {self.labels}", "labels")

    def run_folder(self) -> Path:
        """The folder of the state and the report; with the pictures if there is no expert file."""
        beside = Path(self.out).with_suffix(".run") if self.out else Path(self.images)
        return Path(self.run) if self.run else beside

    def image_folder(self) -> Path:
        return Path(self.images) if self.images else self.run_folder() / "generated"

    def preview_file(self) -> Path:
        """Beside the expert file, under the name that model managers look for."""
        return Path(self.out).with_suffix(".preview.png")

    def check_out(self) -> None:
        """ValueError unless the expert file may be written, and what else a training writes."""
        out = Path(self.out)
        if out.suffix != ".safetensors":
            raise ValueError(f"an expert file is called name.safetensors, got {self.out!r}")
        if out.exists() and not self.overwrite:
            raise SettingError(f"{out} exists: choose another name, or overwrite it", "overwrite")
        check_writable(out.parent, "out")
        check_writable(self.run_folder(), "run")
        check_writable(self.image_folder(), "images")


def check_writable(folder: Path, setting: str) -> None:
    """SettingError if nothing can be written to `folder`, or to where it would be made.

    Known before pictures are sampled, which may take hours. `setting`: names the folder.
    """
    parents = [folder, *folder.absolute().parents]
    existing = next(parent for parent in parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise SettingError(
            f"nothing can be written to {existing} ({error.strerror}): choose another place for "
            f"{folder}",
            setting,
        ) from None
