"""Targets: what a guider should answer about the picture, as a log-likelihood to be raised.

A `Target` belongs to a task of the guiders (tasks/). It has `task`, `answer` (what the guider's
numbers have to mean) and `log_likelihood`: the guider's answer for B pictures -> (B,), in float32.
The pack's own have one row for the whole batch, or a row for each picture.
`agreement` says how far an answer meets it, and `wording` how that is told to a person.
Log-likelihoods are means over pixels, so a guidance scale means the same at every resolution.
`parse_classes`, `parse_class_rows` and `find_class` read class names that a user typed;
class_search.py lists and searches them.
map_target.py makes maps from pictures, for which palettes.py reads and paints colours.
"""

from .class_names import find_class, parse_class_rows, parse_classes
from .class_target import ClassTarget
from .depth_target import DepthTarget
from .segmentation_target import VOID, SegmentationTarget
from .target import Target

__all__ = [
    "VOID",
    "ClassTarget",
    "DepthTarget",
    "SegmentationTarget",
    "Target",
    "find_class",
    "parse_class_rows",
    "parse_classes",
]
