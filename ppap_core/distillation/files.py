"""Where a training reads and writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..atomic import check_writable
from ..errors import SettingError
from .declaration import check_settings, setting

SO_FAR = " (so far)"
LONGEST_NAME = 180  # bytes: file systems take 255, with what is added to it while it is written


@dataclass(frozen=True)
class TrainingFiles:
    """Only `out` or `images` has to be named; the other folders lie beside them."""

    out: str = setting("", "expert file to write")
    images: str = setting(
        "",
        "folder of pictures; what is transparent is white (default: inside the run's folder)",
    )
    run: str = setting(
        "", "folder for the run's state and report (default: beside the expert file)"
    )
    labels: str = setting(
        "", "CSV or JSON, file and class: learn from labels instead (the supervised baseline)"
    )
    overwrite: bool = setting(
        False, "replace an expert file that exists; with other settings, learn anew"
    )
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

    def so_far_file(self) -> Path:
        """Of the experts that are done while others are still being trained."""
        out = Path(self.out)
        return out.with_name(f"{out.stem}{SO_FAR}{out.suffix}")

    def check_out(self) -> None:
        """ValueError unless the expert file may be written, and what else a training writes."""
        out = Path(self.out)
        if out.suffix != ".safetensors":
            raise ValueError(f"an expert file is called name.safetensors, got {self.out!r}")
        if len(os.fsencode(out.name)) > LONGEST_NAME:
            raise SettingError(
                f"{out.stem[:20]!r}... is longer than {LONGEST_NAME} bytes, and files beside it "
                f"get longer names still",
                name="choose a shorter name",
                out="choose a shorter one",
            )
        if out.stem.endswith(SO_FAR):
            raise SettingError(
                f"{out.stem!r} ends with{SO_FAR}, which is for unfinished trainings",
                name="choose another name",
                out="choose another file",
            )
        if self.is_taken() and not self._unfinished().exists():
            raise self.taken()
        check_writable(out.parent, "out")
        check_writable(self.run_folder(), "run")
        check_writable(self.image_folder(), "images")

    def is_taken(self) -> bool:
        """Whether there is an expert file that may not be replaced."""
        return Path(self.out).exists() and not self.overwrite

    def taken(self) -> SettingError:
        return SettingError(
            f"{self.out} exists",
            name="choose another name",
            out="choose another file",
            overwrite="overwrite it",
        )

    @contextmanager
    def writing_results(self) -> Iterator[None]:
        """Inside, the expert file is written, then its report and preview.

        A training that is stopped here may do so again, although its expert file exists.
        """
        self._unfinished().parent.mkdir(parents=True, exist_ok=True)
        self._unfinished().touch()
        yield
        self._unfinished().unlink()

    def _unfinished(self) -> Path:
        return self.run_folder() / ".unfinished"
