"""When two names are the same to a person: class names, names of files."""

import unicodedata


def plain(name: str) -> str:
    """The form in which names are compared.

    Composed and decomposed letters, wide and narrow ones, upper and lower case, and all white space
    are the same; invisible characters do not count (Unicode's NFKC_Casefold, with single spaces).
    """
    if name.isascii():
        return " ".join(name.casefold().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = (c for c in folded if unicodedata.category(c) != "Cf")
    return " ".join("".join(seen).split())


def same_path(path: str) -> str:
    """The form in which names of files in a list are compared with those on disk.

    macOS stores decomposed letters, Windows writes backslashes.
    """
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./")
