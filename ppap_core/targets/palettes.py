"""Classes as colours: a picture of a label map -> labels, and back."""

from functools import lru_cache

import torch
from torch import Tensor

from ..pixels import bytes_to_image, image_to_bytes
from . import palette_tables
from .index_maps import INDEX_MAPS, USUAL_VOID, LabelMap, read_index_map
from .segmentation_target import VOID

HUES = "evenly spaced hues"
TABLES = {
    "ADE20K": palette_tables.ADE20K,
    "COCO": palette_tables.COCO,
    "VOC": palette_tables.VOC,
    "Cityscapes": palette_tables.CITYSCAPES,
}
PALETTES = (*TABLES, HUES, *INDEX_MAPS)

BLACK, VOC_BORDER = (0, 0, 0), (224, 224, 192)
TOLERANCE = 20.0  # largest distance in RGB (0 to 255) between a pixel and its class's colour


def class_colours(palette: str, num_classes: int) -> Tensor:
    """(num_classes, 3), 0 to 255: the palette's colours, or hues if it has too few or none."""
    colours = _colours(palette, num_classes)
    return (colours if len(colours) >= num_classes else _hues(num_classes))[:num_classes]


def image_to_labels(
    image: Tensor, palette: str, num_classes: int, void: int = USUAL_VOID
) -> LabelMap:
    """Read a label map (R, 3, H, W) in [-1, 1]; each pixel takes the nearest colour.

    Black is void; in VOC, whose background is black, void is the colour of its borders. `void`: the
    grey value that is void in the maps of INDEX_MAPS, -1 if there is none. ValueError if no pixel
    has a colour of the palette.
    """
    if palette in INDEX_MAPS:
        return read_index_map(image, palette, void)
    colours = _colours(palette, num_classes)
    border = VOC_BORDER if BLACK in {tuple(c) for c in colours.tolist()} else BLACK
    pixels = image_to_bytes(image).long()
    unique, where = (
        (pixels * torch.tensor([1 << 16, 1 << 8, 1]).view(3, 1, 1))
        .sum(1)
        .unique(return_inverse=True)
    )
    nearest = _nearest(unique, torch.cat((colours, torch.tensor([border]))))
    labels = nearest.where(nearest < len(colours), VOID)[where]  # the last colour is void
    unmatched = (nearest[where] > len(colours)).float().mean().item()
    if unmatched == 1:
        raise ValueError(
            f"no pixel of the map has a colour of the palette {palette}: choose the palette that "
            f"the map was made with"
        )
    note = f"{unmatched:.1%} of the pixels have no colour of {palette} and are void"
    return LabelMap(labels, unmatched, (note,) if unmatched else ())


def labels_to_image(labels: Tensor, colours: Tensor) -> Tensor:
    """Paint labels (R, H, W) in `colours` (K, 3), void in black: (R, 3, H, W) in [-1, 1]."""
    with_void = torch.cat((colours, torch.tensor([BLACK])))  # index -1 is the last
    return bytes_to_image(with_void[labels].movedim(-1, 1))


def _nearest(packed: Tensor, colours: Tensor) -> Tensor:
    """Packed RGB (N,) -> index of the nearest colour, len(colours) if none is near."""
    rgb = torch.stack([packed >> shift & 255 for shift in (16, 8, 0)], -1).float()
    found = [torch.cdist(part, colours.float()).min(1) for part in rgb.split(1 << 16)]
    distance, index = (torch.cat([getattr(f, n) for f in found]) for n in ("values", "indices"))
    return index.where(distance <= TOLERANCE, len(colours))


def _colours(palette: str, num_classes: int) -> Tensor:
    if palette not in PALETTES:
        raise ValueError(f"palette is one of {', '.join(PALETTES)}, got {palette!r}")
    return _table(palette) if palette in TABLES else _hues(num_classes)


@lru_cache
def _table(palette: str) -> Tensor:
    return torch.tensor([tuple(bytes.fromhex(colour)) for colour in TABLES[palette].split()])


def _hues(num: int) -> Tensor:
    """Full colours around the wheel, from red: (num, 3) in 0..255."""
    hue = torch.arange(num) / num
    sector = torch.stack([(n + 6 * hue) % 6 for n in (5, 3, 1)], -1)
    return ((1 - torch.minimum(sector, 4 - sector).clamp(0, 1)) * 255).round().long()
