"""Depth and segmentation targets from a reference picture, a ready map, or a mask per class."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..maps import check_rows, fit_frame, own_maps, shrink_or_grow
from .class_names import find_class
from .depth_target import DepthTarget
from .index_maps import GREY, INDEX_MAPS, USUAL_VOID, image_to_grey
from .palettes import HUES, class_colours, image_to_labels, labels_to_image
from .segmentation_target import VOID, SegmentationTarget

log = logging.getLogger(__name__)

REFERENCE = "reference picture"
NEAR_IS_BRIGHT, FAR_IS_BRIGHT = "depth map (near is bright)", "depth map (far is bright)"
DRAWN = "segmentation map"
SOURCES = {
    REFERENCE: ("depth", "segmentation"),
    NEAR_IS_BRIGHT: ("depth",),
    FAR_IS_BRIGHT: ("depth",),
    DRAWN: ("segmentation",),
}

Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> the guider's answer


@dataclass(frozen=True)
class Frame:
    """The size of the picture to be made, of which only the proportions matter, and the map's fit.

    `width`, `height`: 0 for the map's own proportions. `fit`: one of maps.FITS.
    """

    width: int = 0
    height: int = 0
    fit: str = "stretch"

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 0:
            raise ValueError(f"width and height are 0 or above, got {self.width} x {self.height}")


class MapTarget(NamedTuple):
    """A target, a picture of it (R, 3, H, W) in [-1, 1], and a text about it for the user."""

    target: DepthTarget | SegmentationTarget
    preview: Tensor
    info: str


def build_map_target(
    task: str,
    labels: Sequence[str],
    image: Tensor,
    source: str,
    palette: str,
    frame: Frame,
    mask: Tensor | None,
    predict: Predict,
    void_value: int = USUAL_VOID,
    at_once: int | None = None,
) -> MapTarget:
    """Make a target for a guider of `task` and `labels` from `image` (R, 3, H, W) in [-1, 1].

    `source`: what `image` is, a key of SOURCES. `mask`: where the target counts, (R or 1, h, w) in
    [0, 1], of any size. `predict` asks the guider, without experts, about pictures. `void_value`:
    the grey value of an index map that asks for nothing, -1 if there is none. `at_once`: pictures
    that `predict` is asked about at once, by default all. ValueError, in one line, for what does
    not fit together.
    """
    if source not in SOURCES:
        raise ValueError(f"source is one of {', '.join(SOURCES)}, got {source!r}")
    if task not in SOURCES[source]:
        fitting = " or ".join(name for name, tasks in SOURCES.items() if task in tasks)
        source_or = f"choose the source {fitting}, or " if fitting else ""
        raise ValueError(
            f"a {source} is a target for {' or '.join(SOURCES[source])}, the guider predicts "
            f"{task}: {source_or}connect another guider"
        )
    image = image.float().cpu()
    parts = image.split(at_once or len(image))
    if task == "depth":
        maps, notes = _image_to_nearness(parts, source, predict), []
        make, void = DepthTarget, 0.0
    else:
        if source == REFERENCE:
            maps, notes = _predicted_classes(parts, predict), []
        else:
            maps, notes = _read_classes(image, palette, len(labels), void_value)
        make, void = partial(SegmentationTarget, num_classes=len(labels)), VOID
    weight, mask_notes = _fit_mask(mask, maps)
    target = make(
        fit_frame(maps, frame.width, frame.height, frame.fit, void),
        mask=fit_frame(weight, frame.width, frame.height, frame.fit, 0.0),
    )
    notes = [*notes, *mask_notes, *_frame_notes(maps, frame)]
    return show_target(target, labels, palette, notes)


def add_class_mask(
    labels: Sequence[str],
    mask: Tensor,
    name: str,
    target: SegmentationTarget | None = None,
    elsewhere: str = "",
) -> MapTarget:
    """Ask for class `name` where `mask` (R, H, W) is above 0.5, painted over `target` if given.

    `elsewhere`: the class of the pixels that are void afterwards; empty leaves them void.
    """
    if target is not None and (target.task, getattr(target, "num_classes", 0)) != (
        "segmentation",
        len(labels),
    ):
        others = getattr(target, "num_classes", 0)
        found = f"segmentation with {others} classes" if others else target.task
        found = target.task if target.task == "class" else found
        raise ValueError(
            f"the socket target takes a segmentation target for this guider's {len(labels)} "
            f"classes, but what is connected is a target for {found}: connect one that was made "
            f"with this guider, or none"
        )
    mask = own_maps(mask, torch.float32)
    maps, weight = torch.full(mask.shape, VOID), torch.zeros_like(mask)
    if target is not None:
        maps, weight = target.labels, target.mask
        check_rows(len(mask), len(maps) if len(maps) > 1 else len(mask), "mask")
    mask, notes = _fit_mask(mask, maps)
    painted = mask > 0.5
    if not painted.flatten(1).any(1).all():
        raise ValueError(f"the mask of {name!r} is empty: paint where it should be")
    maps = maps.where(~painted, find_class(name, labels))
    weight = weight.where(~painted, 1.0)
    if elsewhere.strip():
        weight = weight.where(maps != VOID, 1.0)
        maps = maps.where(maps != VOID, find_class(elsewhere, labels))
    combined = SegmentationTarget(
        labels=maps,
        num_classes=len(labels),
        mask=weight,
        temperature=target.temperature if target else 1.0,
    )
    return show_target(combined, labels, HUES, notes)


def _image_to_nearness(parts: Sequence[Tensor], source: str, predict: Predict) -> Tensor:
    """`parts` of a batch, (R, 3, H, W) in [-1, 1] together, are what `source` says -> (R, H, W)."""
    if source == REFERENCE:
        maps = torch.cat([own_maps(predict(part), torch.float32) for part in parts])
        return shrink_or_grow(maps, parts[0].shape[-2:])
    grey = image_to_grey(torch.cat(parts))
    return grey if source == NEAR_IS_BRIGHT else -grey


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


def _fit_mask(mask: Tensor | None, maps: Tensor) -> tuple[Tensor, list[str]]:
    """`mask` resized to `maps` (R, H, W), and a note for the user if it had another size."""
    size = maps.shape[-2:]
    if mask is None:
        return torch.ones(1, *size), []
    mask = own_maps(mask, torch.float32)
    note = f"the mask was {_size(mask)}, the map is {_size(maps)}: resized"
    return shrink_or_grow(mask, size), [note] if mask.shape[-2:] != size else []


def _frame_notes(maps: Tensor, frame: Frame) -> list[str]:
    """A note for the user if the map's proportions are not those of the picture."""
    height, width = maps.shape[-2:]
    if not frame.width or not frame.height or width * frame.height == height * frame.width:
        return []
    done = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[frame.fit]
    return [f"the map was {_size(maps)}, the picture is {frame.width} x {frame.height}: {done}"]


def show_target(
    target: DepthTarget | SegmentationTarget, labels: Sequence[str], palette: str, notes: list[str]
) -> MapTarget:
    """`target` with a picture of it and a text: what it holds, then `notes`.

    `labels`, `palette`: the names and colours of the classes; unused for depth.
    """
    if target.task == "depth":
        preview, content = _nearness_to_image(target), "nearness"
    else:
        colours = class_colours(palette, len(labels))
        preview = labels_to_image(target.labels.where(target.mask > 0, VOID), colours)
        content = _class_shares(target, labels)
    rows = f"{len(preview)} picture{'s' * (len(preview) > 1)}"
    info = f"{target.task} target for {rows}, {_size(preview)}: {content}"
    return MapTarget(target=target, preview=preview, info="\n".join([info, *notes]))


def _nearness_to_image(target: DepthTarget) -> Tensor:
    """(R, 3, H, W) in [-1, 1]: white is nearest, black is farthest or does not count."""
    counts = target.mask > 0
    near = target.nearness.where(counts, -float("inf")).amax((1, 2), keepdim=True)
    far = target.nearness.where(counts, float("inf")).amin((1, 2), keepdim=True)
    grey = ((target.nearness - far) / (near - far)).where(counts, 0.0)
    return grey[:, None].expand(-1, 3, -1, -1) * 2 - 1


def _class_shares(target: SegmentationTarget, labels: Sequence[str]) -> str:
    """The ten classes with the largest areas, and their shares of the map."""
    maps = target.labels.where(target.mask > 0, VOID)
    shares = (maps.flatten() - VOID).bincount(minlength=len(labels) + 1) / maps.numel()
    names = ["void", *labels]
    order = shares.argsort(descending=True, stable=True)[:10].tolist()
    return ", ".join(f"{names[i]} {shares[i].item():.1%}" for i in order if shares[i])


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-1]} x {maps.shape[-2]}"
