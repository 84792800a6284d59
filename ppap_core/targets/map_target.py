"""Targets that are maps, from a reference picture, from a ready map, or from a mask per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..maps import check_rows, fit_frame, own_maps, shrink_or_grow
from ..tasks import all_tasks, get_task
from .class_names import find_class
from .depth_maps import FAR_IS_BRIGHT, NEAR_IS_BRIGHT
from .index_maps import USUAL_VOID
from .map_making import REFERENCE, MapRequest, Predict
from .palettes import HUES
from .segmentation_maps import DRAWN
from .segmentation_target import VOID, SegmentationTarget
from .target import Target
from .wording import any_of

__all__ = [
    "DRAWN",
    "FAR_IS_BRIGHT",
    "NEAR_IS_BRIGHT",
    "REFERENCE",
    "Frame",
    "MapTarget",
    "add_class_mask",
    "build_map_target",
    "map_sources",
    "show_target",
]


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

    target: Target
    preview: Tensor
    info: str


def map_sources() -> dict[str, tuple[str, ...]]:
    """What a picture may be -> the tasks whose targets can be made from it."""
    tasks = [task for task in all_tasks() if task.maps]
    sources = dict.fromkeys(source for task in tasks for source in task.maps.sources)
    return {s: tuple(task.name for task in tasks if s in task.maps.sources) for s in sources}


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

    `source`: what `image` is, a key of `map_sources`. `mask`: where the target counts, (R or 1, h,
    w) in [0, 1], of any size. `predict` asks the guider, without experts, about pictures.
    `void_value`: the grey value of an index map that asks for nothing, -1 if there is none.
    `at_once`: pictures that `predict` is asked about at once, by default all. ValueError, in one
    line, for what does not fit together.
    """
    sources = map_sources()
    if source not in sources:
        raise ValueError(f"source is one of {', '.join(sources)}, got {source!r}")
    if task not in sources[source]:
        fitting = any_of([name for name, tasks in sources.items() if task in tasks])
        source_or = f"choose the source {fitting}, or " if fitting else ""
        raise ValueError(
            f"a {source} is a target for {any_of(sources[source])}, the guider predicts "
            f"{task}: {source_or}connect another guider"
        )
    making = get_task(task).maps
    image = image.float().cpu()
    parts = image.split(at_once or len(image))
    maps, notes = making.read(MapRequest(parts, source, labels, palette, void_value, predict))
    weight, mask_notes = _fit_mask(mask, maps)
    target = making.make(
        fit_frame(maps, frame.width, frame.height, frame.fit, making.void),
        fit_frame(weight, frame.width, frame.height, frame.fit, 0.0),
        labels,
    )
    notes = [*notes, *mask_notes, *frame_notes(maps, frame)]
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
    others = target.num_classes if isinstance(target, SegmentationTarget) else 0
    if target is not None and others != len(labels):
        found = f"{target.task} with {others} classes" if others else target.task
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


def _fit_mask(mask: Tensor | None, maps: Tensor) -> tuple[Tensor, list[str]]:
    """`mask` resized to `maps` (R, H, W), and a note for the user if it had another size."""
    size = maps.shape[-2:]
    if mask is None:
        return torch.ones(1, *size), []
    mask = own_maps(mask, torch.float32)
    note = f"the mask was {_size(mask)}, the map is {_size(maps)}: resized"
    return shrink_or_grow(mask, size), [note] if mask.shape[-2:] != size else []


def frame_notes(maps: Tensor, frame: Frame) -> list[str]:
    """A note for the user if the map's proportions are not those of the picture."""
    height, width = maps.shape[-2:]
    if not frame.width or not frame.height or width * frame.height == height * frame.width:
        return []
    done = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[frame.fit]
    return [f"the map was {_size(maps)}, the picture is {frame.width} x {frame.height}: {done}"]


def show_target(target: Target, labels: Sequence[str], palette: str, notes: list[str]) -> MapTarget:
    """`target`, a map, with a picture of it and a text: what it holds, then `notes`.

    `labels`, `palette`: the names and colours of the classes; unused where there are none.
    """
    preview, content = get_task(target.task).maps.show(target, labels, palette)
    rows = f"{len(preview)} picture{'s' * (len(preview) > 1)}"
    info = f"{target.task} target for {rows}, {_size(preview)}: {content}"
    return MapTarget(target=target, preview=preview, info="\n".join([info, *notes]))


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-1]} x {maps.shape[-2]}"
