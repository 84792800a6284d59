"""Likeness targets from a reference picture: what a user asks for, checked, shown and told."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..maps import fit_frame, own_maps, shrink_or_grow
from .contrast_target import ContrastTarget
from .known_region_target import KnownRegionTarget
from .lab import image_to_lab
from .low_resolution_target import LowResolutionTarget, average_down
from .map_target import Frame, MapTarget, frame_notes
from .palette_target import PaletteTarget
from .pictures import average, own_pictures
from .reference_mean_target import ReferenceMeanTarget

BLACK = -1.0
STRIP = (16, 64)  # rows and columns of a palette's picture


def build_likeness(
    kind: str, image: Tensor, mask: Tensor | None, cells: int, frame: Frame
) -> MapTarget:
    """The target of `kind`, one of KINDS, from `image` (R, 3, H, W) in [-1, 1].

    `mask`: where the reference counts, (R or 1, h, w) in [0, 1], of any size. `cells`: along the
    longer side, of the kinds that have them; 0: see the kinds. ValueError, in one line, for what
    does not fit together.
    """
    reference, notes = own_pictures(image), []
    size = reference.shape[-2:]
    if mask is not None:
        mask = own_maps(mask, torch.float32)
        if mask.shape[-2:] != size:
            sizes = " x ".join(map(str, reversed(mask.shape[-2:])))
            notes.append(f"the mask was {sizes}, the reference is {size[1]} x {size[0]}: resized")
        mask = shrink_or_grow(mask, size)
        if len(mask) not in (1, len(reference)):
            raise ValueError(
                f"the socket mask has {len(mask)} masks, the socket image {len(reference)} "
                f"pictures: give one mask for all or one for each"
            )
    if frame.fit == "pad" and mask is None and frame.width and frame.height:
        mask = torch.ones(1, *size)  # so that the borders do not count
    notes += frame_notes(reference, frame)
    framed = frame.width, frame.height, frame.fit
    reference = fit_frame(reference, *framed, BLACK)
    mask = None if mask is None else fit_frame(mask, *framed, 0.0)
    target, preview, content = KINDS[kind](reference, mask, cells)
    rows = f"{len(reference)} picture{'s' * (len(reference) > 1)}"
    return MapTarget(target, preview, "\n".join([f"{kind} of {rows}: {content}", *notes]))


Made = tuple[object, Tensor, str]  # the target, a picture of it, what it holds


def _low_resolution(reference: Tensor, mask: Tensor | None, cells: int) -> Made:
    small = average_down(reference, cells)
    weight = None if mask is None else average(mask[:, None], small.shape[-2:])[:, 0]
    target = LowResolutionTarget(small, weight)
    height, width = small.shape[-2:]
    return target, target.reference, f"averages of {width} x {height} places"


def _known_region(reference: Tensor, mask: Tensor | None, cells: int) -> Made:
    if mask is None:
        raise ValueError(
            "a known region needs a mask: connect one to the socket mask that is white where the "
            "picture is known"
        )
    target = KnownRegionTarget(reference, mask)
    known = (target.mask > 0)[:, None]
    shown = target.reference.where(known, BLACK)
    return target, shown, f"{target.mask.mean().item():.1%} of the picture is known"


def _palette(reference: Tensor, mask: Tensor | None, cells: int) -> Made:
    target = PaletteTarget(reference, mask)
    counts = target.mask.expand(target.num_rows, -1, -1) > 0.5
    strips = [
        _strip(picture[:, row]) for picture, row in zip(target.reference, counts, strict=True)
    ]
    return target, torch.stack(strips), f"the colours of {int(counts.sum())} pixels"


def _strip(colours: Tensor) -> Tensor:
    """(3, N) -> their picture (3, *STRIP), from dark to light."""
    lightness = image_to_lab(colours[..., None])[0, :, 0]
    chosen = torch.linspace(0, colours.shape[1] - 1, STRIP[1]).round().long()
    return colours[:, lightness.argsort()[chosen]][:, None].expand(-1, STRIP[0], -1)


def _contrast(reference: Tensor, mask: Tensor | None, cells: int) -> Made:
    if mask is not None:
        raise ValueError(
            "mean and contrast are those of whole regions: leave the socket mask empty, and set "
            "fit to stretch or crop"
        )
    regions = tuple(average_down(reference, cells or 1).shape[-2:])
    target = ContrastTarget(reference, regions)
    told = f"{regions[1]} x {regions[0]} regions" if max(regions) > 1 else "the whole picture"
    return target, average(target.reference, regions), told


def _reference_mean(reference: Tensor, mask: Tensor | None, cells: int) -> Made:
    small = average_down(reference, cells)
    weight = None if mask is None else average(mask[:, None], small.shape[-2:])[:, 0]
    target = ReferenceMeanTarget(small, weight)
    height, width = small.shape[-2:]
    content = f"all of them for every picture, compared at {width} x {height} places at most"
    return target, target.reference.mean(0, keepdim=True), content


KINDS: dict[str, Callable[[Tensor, Tensor | None, int], Made]] = {
    "low resolution": _low_resolution,
    "known region": _known_region,
    "palette": _palette,
    "mean and contrast": _contrast,
    "reference mean": _reference_mean,
}
