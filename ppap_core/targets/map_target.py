"""Map targets from pictures: a reference, a depth map, a drawn label map, a mask per class."""

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
from .palettes import HUES, class_colours, image_to_grey, image_to_labels, labels_to_image
from .segmentation_target import VOID, SegmentationTarget

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
    """The proportions of the picture to be made (0: the map's own), and how a map gets there."""

    width: int = 0
    height: int = 0
    fit: str = "stretch"


class MapTarget(NamedTuple):
    """A target, a picture of it (R, 3, H, W) in [-1, 1], and what to tell the user."""

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
) -> MapTarget:
    """Make a target for a guider of `task` and `labels` from `image` (R, 3, H, W) in [-1, 1].

    `source` is a key of SOURCES. `mask`: where it counts, (R or 1, h, w) in [0, 1], of any size.
    `predict` asks the clean guider about pictures. ValueError, in one line, for what does not fit.
    """
    if task not in SOURCES[source]:
        raise ValueError(
            f"the guider predicts {task}; a {source} makes a target for "
            f"{' or '.join(SOURCES[source])}"
        )
    image = image.float().cpu()
    if task == "depth":
        maps, notes = _read_nearness(image, source, predict), []
        make, void = DepthTarget, 0.0
    else:
        maps, notes = _read_labels(image, source, palette, len(labels), predict)
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
    """Ask for class `name` where `mask` (R, H, W) is above one half, on top of `target` if given.

    `elsewhere`: the class of what is still void afterwards, empty to leave it void.
    """
    if target is not None and (target.task, getattr(target, "num_classes", 0)) != (
        "segmentation",
        len(labels),
    ):
        raise ValueError(
            f"the target that came in is for {target.task} and another guider: connect one made "
            f"for this guider"
        )
    mask = own_maps(mask, torch.float32)
    maps, weight = torch.full(mask.shape, VOID), torch.zeros_like(mask)
    if target is not None:
        maps, weight = target.labels, target.mask
        check_rows(len(mask), len(maps) if len(maps) > 1 else len(mask))
    mask, notes = _fit_mask(mask, maps)
    painted = mask > 0.5
    if not painted.flatten(1).any(1).all():
        raise ValueError(f"the mask of {name!r} is empty: paint where it should be")
    maps = maps.where(~painted, find_class(name, labels))
    weight = weight.where(~painted, 1.0)
    if elsewhere.strip():
        weight = weight.where(maps != VOID, 1.0)
        maps = maps.where(maps != VOID, find_class(elsewhere, labels))
    temperature = target.temperature if target else 1.0
    combined = SegmentationTarget(maps, len(labels), weight, temperature)
    return show_target(combined, labels, HUES, notes)


def _read_nearness(image: Tensor, source: str, predict: Predict) -> Tensor:
    if source == REFERENCE:
        return shrink_or_grow(own_maps(predict(image), torch.float32), image.shape[-2:])
    grey = image_to_grey(image)
    return grey if source == NEAR_IS_BRIGHT else -grey


def _read_labels(
    image: Tensor, source: str, palette: str, num_classes: int, predict: Predict
) -> tuple[Tensor, list[str]]:
    if source == REFERENCE:
        classes = own_maps(predict(image).argmax(1), torch.float32)
        grown = F.interpolate(classes[None], image.shape[-2:], mode="nearest-exact")[0]
        return grown.long(), []
    maps, unmatched = image_to_labels(image, palette, num_classes)
    note = f"{unmatched:.1%} of the pixels have no colour of {palette} and are void"
    return maps, [note] if unmatched else []


def _fit_mask(mask: Tensor | None, maps: Tensor) -> tuple[Tensor, list[str]]:
    """`mask` in the resolution of `maps` (R, H, W), and a note if that was another one."""
    size = maps.shape[-2:]
    if mask is None:
        return torch.ones(1, *size), []
    mask = own_maps(mask, torch.float32)
    note = f"the mask was {_size(mask)}, the map is {_size(maps)}: resized"
    return shrink_or_grow(mask, size), [note] if mask.shape[-2:] != size else []


def _frame_notes(maps: Tensor, frame: Frame) -> list[str]:
    height, width = maps.shape[-2:]
    if not frame.width or not frame.height or width * frame.height == height * frame.width:
        return []
    done = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[frame.fit]
    return [f"the map was {_size(maps)}, the picture is {frame.width} x {frame.height}: {done}"]


def show_target(
    target: DepthTarget | SegmentationTarget, labels: Sequence[str], palette: str, notes: list[str]
) -> MapTarget:
    if target.task == "depth":
        preview, content = _draw_nearness(target), "nearness"
    else:
        colours = class_colours(palette, len(labels))
        preview = labels_to_image(target.labels.where(target.mask > 0, VOID), colours)
        content = _class_shares(target, labels)
    rows = f"{len(preview)} picture{'s' * (len(preview) > 1)}"
    info = f"{target.task} target for {rows}, {_size(preview)}: {content}"
    return MapTarget(target, preview, "\n".join([info, *notes]))


def _draw_nearness(target: DepthTarget) -> Tensor:
    """White is nearest, black is farthest or does not count."""
    counts = target.mask > 0
    near = target.nearness.where(counts, -float("inf")).amax((1, 2), keepdim=True)
    far = target.nearness.where(counts, float("inf")).amin((1, 2), keepdim=True)
    grey = ((target.nearness - far) / (near - far)).where(counts, 0.0)
    return grey[:, None].expand(-1, 3, -1, -1) * 2 - 1


def _class_shares(target: SegmentationTarget, labels: Sequence[str]) -> str:
    """The classes of the map by area, the largest ten."""
    maps = target.labels.where(target.mask > 0, VOID)
    shares = (maps.flatten() - VOID).bincount(minlength=len(labels) + 1) / maps.numel()
    names = ["void", *labels]
    order = shares.argsort(descending=True, stable=True)[:10].tolist()
    return ", ".join(f"{names[i]} {shares[i].item():.1%}" for i in order if shares[i])


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-1]} x {maps.shape[-2]}"
