"""How errors of other libraries are told."""


def one_line(error: BaseException, longest: int = 300) -> str:
    """What `error` says, in one line: its type where it says nothing, or is no ValueError."""
    text = " ".join(str(error).split())
    text = text if len(text) <= longest else text[:longest] + " ..."
    return text if text and isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
