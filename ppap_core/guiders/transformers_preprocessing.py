"""The preprocessing of a transformers model, from the settings of its image processor.

Older folders keep these in preprocessor_config.json, newer ones may keep them in
processor_config.json, under "image_processor".
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import one_line
from ..pixels import bytes_to_image
from ..targets.pose_boxes import MARGIN
from .model_folder import read_settings
from .plain_folder import in_utf8
from .preprocessing import Preprocessing, for_channels

if TYPE_CHECKING:  # transformers takes seconds to import, and only its guiders need it
    from transformers.image_processing_utils import BaseImageProcessor

PROCESSOR, COMMON_PROCESSOR = "preprocessor_config.json", "processor_config.json"
STATISTICS = ("image_mean", "image_std")
SAPIENS, YOLOS, PATCH = "Sapiens2", "Yolos", 16  # of whose networks 16 pixels make a patch
OWL = "Owlv2"
OWN_SIZE = (480, 640)  # `size` of models that read any size: that of GLPN's training pictures
TOLERANCE = 0.05  # of normalised pixels: the processors round to uint8 when they resize


def transformers_preprocessing(
    folder: Path, whole: bool, channels: int = 3, boxed: bool = False, bounded: bool = False
) -> Preprocessing:
    """What `folder`/preprocessor_config.json or processor_config.json describes.

    `channels`: of the pictures that the network reads, 3 (colour) or 1 (grey). `whole`: the model
    answers with maps, so nothing may be cut off or padded. A centre crop becomes a resize of the
    shorter side; borders that ZoeDepth and Sapiens2 add are left out; DINOv2's DPT, which pads to a
    multiple of 14, gets a resize down to one. `boxed`: the model reads the box around a person,
    with a margin; the whole picture, with black borders, stands for that. `bounded`: a longest edge
    counts too.
    ValueError if the file is missing, unknown to transformers, or asks for more than a resize, a
    crop and a normalisation: the result is compared with the processor's own. Another number of
    channels is refused too.
    """
    if channels not in (1, 3):
        raise ValueError(
            f"guider {folder.name!r}: it reads pictures of {channels} channels: choose a model for "
            f"colour (3) or grey (1)"
        )
    files = [f for f in (PROCESSOR, COMMON_PROCESSOR) if (folder / f).is_file()] or [PROCESSOR]
    for file in files:
        read_settings(folder, file)
    from transformers import AutoImageProcessor

    try:
        with in_utf8(folder) as readable:
            processor = AutoImageProcessor.from_pretrained(
                readable, local_files_only=True, trust_remote_code=False
            )
        preprocessing = _from_settings(processor.to_dict(), whole, channels, boxed)
        if bounded:
            preprocessing = _bounded(preprocessing, processor.to_dict())
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{folder / files[0]} is not understood: {one_line(error)}") from None
    _check(preprocessing, processor, folder, whole, boxed)
    return preprocessing


def _from_settings(settings: dict, whole: bool, channels: int, boxed: bool) -> Preprocessing:
    processor = settings.get("image_processor_type", "")
    # Ours normalises pixels in [0, 1]; a processor those in [0, 255] or what it has rescaled.
    scale = 255 * (settings["rescale_factor"] if settings.get("do_rescale") else 1)
    mean, std = (0.0,) * channels, (1.0,) * channels
    if settings.get("do_normalize"):
        mean, std = (for_channels(settings[name], channels) for name in STATISTICS)
    common = {
        "mean": tuple(value / scale for value in mean),
        "std": tuple(value / scale for value in std),
        # 0: nearest, 1: Lanczos; neither has a useful gradient in torch.
        "interpolation": "bilinear" if int(settings.get("resample") or 0) in (0, 2) else "bicubic",
        "antialias": not processor.startswith(("DepthPro", "ZoeDepth")),
        "align_corners": processor.startswith("ZoeDepth"),
        "floor_crop": True,
        "reverse_channels": bool(settings.get("do_flip_channel_order")),
    }
    if processor.startswith(OWL):
        return Preprocessing(**common, size=_sides(settings["size"]), crop_mode="corner")
    if boxed:
        size = _sides(settings["size"])
        return Preprocessing(**common, size=size, crop_mode="border", black_border=True)
    return Preprocessing(**common, **_geometry(settings, whole))


def _geometry(settings: dict, whole: bool) -> dict:
    """The arguments of `Preprocessing` that say how the picture is resized and cropped."""
    size = settings.get("size") or {}
    crop = None if whole or not settings.get("do_center_crop") else settings["crop_size"]
    divisor = settings.get("size_divisor")
    if divisor and not (size and settings.get("do_resize", True)):
        return {"size": OWN_SIZE, "crop_mode": "own", "multiple": int(divisor)}
    multiple = max(1, int(settings.get("ensure_multiple_of") or divisor or 1))
    if settings.get("do_pad") and settings["image_processor_type"].startswith(SAPIENS):
        return {"size": _sides(size), "crop_mode": "inside", "multiple": PATCH}
    if settings.get("keep_aspect_ratio"):
        return {"size": _sides(size), "crop_mode": "fit", "multiple": multiple}
    if "shortest_edge" not in size:
        sides = tuple(max(1, round(side / multiple)) * multiple for side in _sides(size))
        return {"size": _sides(crop or size), "resize_to": sides, "crop_mode": "squash"}
    short = int(size["shortest_edge"])
    if settings.get("crop_pct") and not whole:  # ConvNeXt's rule
        if short >= 384:
            return {"size": (short, short), "crop_mode": "squash"}
        crop, short = {"height": short, "width": short}, int(short / settings["crop_pct"])
    if crop:
        return {"size": _sides(crop), "resize_to": (short, short), "crop_mode": "center"}
    return {"size": (short, short), "crop_mode": "shortest", "multiple": multiple}


def _bounded(preprocessing: Preprocessing, settings: dict) -> Preprocessing:
    """With the longest edge of a detector's processor, where that has one."""
    longest = (settings.get("size") or {}).get("longest_edge")
    if preprocessing.crop_mode != "shortest" or not longest:
        return preprocessing
    multiple = PATCH if settings["image_processor_type"].startswith(YOLOS) else 1
    size = (preprocessing.size[0], int(longest))
    return replace(preprocessing, size=size, crop_mode="bounded", multiple=multiple)


def _sides(size: dict) -> tuple[int, int]:
    return int(size["height"]), int(size["width"])


def whole_picture(sides: Sequence[int]) -> list[float]:
    """The box (left, top, width, height) that, with a processor's margin, is the whole picture.

    These processors measure from the centre of the first pixel to that of the last.
    """
    height, width = (side - 1 for side in sides)
    left, top = (side * (1 - 1 / MARGIN) / 2 for side in (width, height))
    return [left, top, width / MARGIN, height / MARGIN]


def _check(
    preprocessing: Preprocessing,
    processor: "BaseImageProcessor",
    folder: Path,
    whole: bool,
    boxed: bool,
) -> None:
    """ValueError unless `preprocessing` gives what the library's own processor gives."""
    # Some processors pad to a multiple, which ours does not: a picture that needs no padding.
    usual = preprocessing.size if boxed or preprocessing.crop_mode == "inside" else (96, 128)
    if is_square := preprocessing.crop_mode == "corner":  # where it shrinks, it blurs otherwise
        usual = (3 * preprocessing.size[0] // 4, preprocessing.size[1])
    sides = (-(-side // preprocessing.multiple) * preprocessing.multiple for side in usual)
    rows, columns = (torch.linspace(0, 1, side) for side in sides)
    picture = torch.stack(
        [rows[:, None] + 0 * columns, 0 * rows[:, None] + columns, rows[:, None] * columns]
    )
    options = {"do_center_crop": False, "do_pad": is_square} if whole else {}
    if grey := len(preprocessing.mean) == 1:
        picture = picture[:1].expand(3, -1, -1)
        options |= {k: for_channels(getattr(processor, k) or (0.0,), 1) for k in STATISTICS}
    if boxed:
        options["boxes"] = [[whole_picture(picture.shape[-2:])]]
    pixels = (picture * 255).round().to(torch.uint8)
    shown = pixels[:1] if grey else pixels
    wanted = processor(images=[shown.numpy()], return_tensors="pt", **options).get("pixel_values")
    got = preprocessing(bytes_to_image(pixels[None]))
    if boxed and wanted is not None:  # a processor may round the outermost pixels to black
        got, wanted = (x[..., 1:-1, 1:-1] for x in (got, wanted))
    if wanted is None or got.shape != wanted.shape or (got - wanted).abs().max() > TOLERANCE:
        raise ValueError(
            f"guider {folder.name!r}: {type(processor).__name__} does more than resize, crop and "
            f"normalise, so its gradient cannot be taken: choose another model"
        )
