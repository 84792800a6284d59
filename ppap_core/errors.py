"""Errors as a person reads them: those of other libraries in one line, ours with what to change."""

import difflib
import re
from collections.abc import Iterable

# What libraries write in front of the cause: torch's load_state_dict, ComfyUI.
_HEADINGS = re.compile(r"^(Error\(s\) in loading state_dict for \w+:|ERROR:)\s*")
_SENTENCES = (ValueError, RuntimeError, OSError)  # others' texts need the type to be understood


def one_line(error: BaseException, longest: int = 300) -> str:
    """The text of `error` in one line, at most `longest` characters and " ...".

    The type stands in front of it, unless the text of such errors is a sentence that explains
    itself; where there is no text, the type stands alone.
    """
    text = _HEADINGS.sub("", " ".join(str(error).split()))
    text = text if len(text) <= longest else text[:longest] + " ..."
    if not text:
        return type(error).__name__
    return text if isinstance(error, _SENTENCES) else f"{type(error).__name__}: {text}"


def last_error_line(output: str) -> str:
    """The last line of a program's `output` that begins with "ERROR:", else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1]


class SettingError(ValueError):
    """A ValueError that a person can put right by one setting.

    `setting` is its name in the code. The message does not say where it is set: the command line
    adds its flag, a node can add its socket or widget.
    """

    def __init__(self, message: str, setting: str):
        super().__init__(message)
        self.setting = setting


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown `name`: the nearest one, or all that are known."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
