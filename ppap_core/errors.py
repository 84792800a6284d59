"""Errors as a person reads them: those of other libraries in one line, ours with what to change."""

import difflib
import re
from collections.abc import Callable, Iterable

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


class SettingError(ValueError):
    """A ValueError that a person can put right by a setting.

    `setting`: its name in the code, if the message speaks of it. `remedies`: more settings, each
    with what to do. The message does not say where they are set: the command line has flags, a node
    sockets and widgets, and not each has all of them (`told`).
    """

    def __init__(self, message: str, setting: str = "", **remedies: str):
        super().__init__(": ".join(filter(None, (message, ", or ".join(remedies.values())))))
        self.message, self.setting, self.remedies = message, setting, remedies

    def told(self, place_of: Callable[[str], str | None]) -> str:
        """The message with what its reader can do. `place_of`: setting -> its place, None without.

        For example "x exists: choose another name (--out), or overwrite it (--overwrite)".
        """
        place = place_of(self.setting) if self.setting else None
        places = {name: place_of(name) for name in self.remedies}
        cures = [f"{self.remedies[name]} ({where})" for name, where in places.items() if where]
        told = f"{self.message} ({place})" if place else self.message
        return ": ".join(filter(None, (told, ", or ".join(cures))))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown `name`: the nearest one, or all that are known."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
