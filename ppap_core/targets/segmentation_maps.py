"""Maps of classes from pictures, and as pictures."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import own_maps
from .index_maps import GREY, INDEX_MAPS
from .map_making import REFERENCE, MapMaking, MapRequest, Predict
from .palettes import class_colours, image_to_labels, labels_to_image
from .segmentation_target import VOID, SegmentationTarget

log = logging.getLogger(__name__)

DRAWN = "segmentation map"


def read_segments(asked: MapRequest) -> tuple[Tensor, list[str]]:
    """Class indices (R, H, W), as the guider sees a reference picture or as a drawn map says."""
    if asked.source == REFERENCE:
        return _predicted_classes(asked.parts, asked.predict), []
    image = torch.cat(list(asked.parts))
    return _read_classes(image, asked.palette, len(asked.labels), asked.void_value)


def _predicted_classes(parts: Sequence[Tensor], predict: Predict) -> Tensor:
    """What the guider sees in `parts`, (R, 3, H, W) in [-1, 1] together: class indices (R, H, W).

    Of each part's logits, which are many times as large, only the classes are kept.
    """
    classes = torch.cat([own_maps(predict(part).argmax(1), torch.float32) for part in parts])
    return F.interpolate(classes[None], parts[0].shape[-2:], mode="nearest-exact")[0].long()


def _read_classes(
    image: Tensor, palette: str, num_classes: int, void_value: int
) -> tuple[Tensor, list[str]]:
    """A drawn map (R, 3, H, W) in [-1, 1] -> class indices (R, H, W), and notes for the user."""
    maps, _, notes = image_to_labels(image, palette, num_classes, void_value)
    for note in notes:
        log.warning("the label map: %s", note)
    if palette in INDEX_MAPS and (highest := int(maps.max())) >= num_classes:
        others = " or ".join(repr(kind) for kind in INDEX_MAPS if kind != GREY)
        raise ValueError(
            f"the map asks for class {highest}, the guider knows 0 to {num_classes - 1}: if its "
            f"numbers are a data set's own, choose the palette {others}; if {highest} means that "
            f"nothing is asked for, set void_value to it"
        )
    return maps, list(notes)


def make_segmentation_target(
    maps: Tensor, mask: Tensor, labels: Sequence[str]
) -> SegmentationTarget:
    return SegmentationTarget(maps, num_classes=len(labels), mask=mask)


def show_segments(
    target: SegmentationTarget, labels: Sequence[str], palette: str
) -> tuple[Tensor, str]:
    """(R, 3, H, W) in [-1, 1] in the colours of `palette`, void in black; the classes' shares."""
    colours = class_colours(palette, len(labels))
    preview = labels_to_image(target.labels.where(target.mask > 0, VOID), colours)
    return preview, _class_shares(target, labels)


def _class_shares(target: SegmentationTarget, labels: Sequence[str]) -> str:
    """The ten classes with the largest areas, and their shares of the map."""
    maps = target.labels.where(target.mask > 0, VOID)
    shares = (maps.flatten() - VOID).bincount(minlength=len(labels) + 1) / maps.numel()
    names = ["void", *labels]
    order = shares.argsort(descending=True, stable=True)[:10].tolist()
    return ", ".join(f"{names[i]} {shares[i].item():.1%}" for i in order if shares[i])


SEGMENTS = MapMaking(
    (REFERENCE, DRAWN), read_segments, make_segmentation_target, VOID, show_segments
)
