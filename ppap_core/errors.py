"""Errors as a person reads them: those of other libraries in one line, ours with what to change."""


def one_line(error: BaseException, longest: int = 300) -> str:
    """What `error` says, in one line: its type where it says nothing, or is no ValueError."""
    text = " ".join(str(error).split())
    text = text if len(text) <= longest else text[:longest] + " ..."
    return text if text and isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


class SettingError(ValueError):
    """A ValueError that a person can put right by one setting.

    `setting` is its name in the code. The message does not say where it is set: the command line
    adds its flag, a node can add its socket or widget.
    """

    def __init__(self, message: str, setting: str):
        super().__init__(message)
        self.setting = setting
