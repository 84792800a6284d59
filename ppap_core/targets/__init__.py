"""Targets: what a guider should say of the picture, as a log-likelihood to be raised.

A target is for one picture, shared by the whole batch, or for each picture of the batch its own.
All log-likelihoods are float32, per picture, and means over pixels: a scale means the same at
every resolution.
"""

from .class_names import find_class, parse_class_rows, parse_classes
from .class_target import ClassTarget
from .depth_target import DepthTarget
from .segmentation_target import VOID, SegmentationTarget

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

Target = ClassTarget | DepthTarget | SegmentationTarget
