"""The pictures that can be used, their states and the teacher's answers: kept as they are made."""

import json
import time
from pathlib import Path

from torch import Tensor

from ..atomic import replace_file
from .checksums import seal, unseal
from .rows import RowFile, RowWriter

SECONDS = 30  # between two records of the progress
STATES, ANSWERS, PROGRESS = "states.npy", "answers.npy", "progress.json"


class Answered:
    """A folder with a row of states and of answers for every picture that can be used.

    So a killed process resumes, and memory does not grow with the number of pictures. `stamp`: of
    all that decides the rows; what another stamp left is made anew. `read`: how many lines of the
    pictures' folder were looked at. `kept`: indices of those that can be used.
    """

    def __init__(self, folder: Path, stamp: str):
        self.folder, self.stamp = folder, stamp
        folder.mkdir(parents=True, exist_ok=True)
        found = self._found()
        self._begin(found.get("read", 0), found.get("kept", []))

    def forget(self) -> None:
        """Begin again."""
        self._begin(0, [])

    def _begin(self, read: int, kept: list[int]) -> None:
        self.read, self.kept, self._recorded = read, kept, time.monotonic()
        self._states = RowWriter(self.folder / STATES, len(kept))
        self._answers = RowWriter(self.folder / ANSWERS, len(kept))

    def _found(self) -> dict:
        """What an earlier process recorded; nothing unless it is of this stamp and whole."""
        try:
            found = unseal(json.loads((self.folder / PROGRESS).read_text("utf-8")))
            num = len(found["kept"]) if found["stamp"] == self.stamp else 0
            whole = min(len(RowFile.whole(self.folder / name)) for name in (STATES, ANSWERS)) >= num
            return found if num and whole else {}
        except (OSError, ValueError, RecursionError):
            return {}

    def add(
        self, read: int, kept: list[int], states: Tensor | None, answers: Tensor | None
    ) -> None:
        """Of the next `read` lines; `states`, `answers`: (B, ...), a row for each of `kept`."""
        if kept:
            self._states.append(states)
            self._answers.append(answers)
        self.read += read
        self.kept += kept
        if time.monotonic() - self._recorded >= SECONDS:
            self.record()

    def record(self) -> None:
        """What was added is found by the next process."""
        found = {"stamp": self.stamp, "read": self.read, "kept": self.kept}
        with replace_file(self.folder / PROGRESS) as partial:
            partial.write_text(json.dumps(seal(found)), "utf-8")
        self._recorded = time.monotonic()

    @property
    def states(self) -> RowFile:
        return RowFile(self.folder / STATES, 0, len(self.kept))

    @property
    def answers(self) -> RowFile:
        return RowFile(self.folder / ANSWERS, 0, len(self.kept))
