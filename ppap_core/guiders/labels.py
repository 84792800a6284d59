"""Names of classes, as the folders of timm and torchvision give them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import one_line
from ..text_files import read_rows

log = logging.getLogger(__name__)

TAGS = "selected_tags.csv"  # beside the weights of taggers: a line for each output, with its `name`
WD_TAGGER = ["tag_id", "name", "category", "count"]  # the columns of the WD taggers' file


def numbered(
    names: Sequence[str] | Mapping[str, str] | None,
    num_classes: int,
    descriptions: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """`num_classes` labels from a list or a mapping index -> name; the others are their numbers.

    `descriptions`: name -> description. The label is then the description with the name as a
    synonym. ValueError for indices that are no numbers. Names that cannot belong to these classes
    are left out, with a warning.
    """
    found = _by_index(names)
    if isinstance(names, Sequence) and names and len(names) != num_classes:
        log.warning("%d label names for %d classes: classes have numbers", len(names), num_classes)
        found = {}
    if beyond := sorted(index for index in found if not 0 <= index < num_classes):
        log.warning("%d classes, but label names up to number %d", num_classes, beyond[-1])
    if not isinstance(descriptions or {}, Mapping):
        raise ValueError("label_descriptions is an object of label names and descriptions")
    described = {
        index: _described(name, str((descriptions or {}).get(name, name)))
        for index, name in found.items()
    }
    return tuple(described.get(index, str(index)) for index in range(num_classes))


def _by_index(names: Sequence[str] | Mapping[str, str] | None) -> dict[int, str]:
    """Index -> name in one line, without blank names. ValueError for indices that are none."""
    try:
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names or ())
        named = {int(i): " ".join(str(name).split()) for i, name in pairs if name is not None}
        return {index: name for index, name in named.items() if name}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"label names are a list, or an object of class numbers and names: {one_line(error)}"
        ) from None


def _described(name: str, description: str) -> str:
    parts = {description.strip(), *(part.strip() for part in description.split(","))}
    return description if name.strip() in parts else f"{description}, {name}"


def read_tags(folder: Path) -> tuple[list[str], list[str]] | None:
    """(column names, tags in the order of the outputs) of `folder`'s tag file; None without one."""
    path = folder / TAGS
    if not path.is_file():
        return None
    columns, *rows = read_rows(path, lambda rows: "name" in rows[0] if rows else 0) or [[]]
    if "name" not in columns or any(len(row) <= columns.index("name") for row in rows):
        raise ValueError(
            f"{path} has no column 'name', or is damaged: download it from the model's page again"
        )
    place = columns.index("name")
    return columns, [row[place] for row in rows]
