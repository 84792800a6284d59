"""The only way to open a picture from disk: as a person sees it in a viewer."""

import io
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

import numpy
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .errors import one_line

SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .dib .tif .tiff .gif .avif .heic .heif .jxl .jp2 "
    ".ppm .pgm .pbm .pnm .tga".split()
)
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
WHITE_IS_ZERO, BITS, TIFF_PHOTOMETRIC = 0, 258, 262  # of TIFF
UNPACKED = {"P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "1": "L"}
SCALED_TO_16 = ("PNG", "PPM")  # formats whose grey beyond 8 bits Pillow gives in 0 to 65535


def read_picture(file: Path | BinaryIO) -> Image.Image:
    """The first frame or page, upright, in 8-bit RGB (sRGB), over white where it is transparent.

    ValueError, in one line without the file's name, if it cannot be read, for whatever reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about pictures that it can read
            with _opened(file) as stream, _picture(stream) as picture:
                return _as_seen(picture)
    except Exception as error:  # each decoder has errors of its own
        raise ValueError(one_line(error)) from None


def _as_seen(picture: Image.Image) -> Image.Image:
    picture.load()
    profile = picture.info.get("icc_profile")
    _turn_upright(picture)
    colours, alpha = _split_alpha(_in_eight_bits(picture))
    return _on_white(_in_srgb(colours, profile), alpha)


def _opened(file: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return file.open("rb") if isinstance(file, Path) else nullcontext(file)


def _picture(stream: BinaryIO) -> Image.Image:
    """What Pillow makes of `stream`; iPhones' HEIC, whatever the file is called, by pillow-heif."""
    try:
        return Image.open(stream)
    except UnidentifiedImageError:
        stream.seek(0)
        start = stream.read(12)
    if not start:
        raise ValueError("the file is empty")
    if start[4:8] != b"ftyp" or start[8:] not in HEIC_BRANDS:
        raise ValueError("it is no picture that Pillow can read")
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("to read HEIC, pip install pillow-heif, or save it as PNG") from None
    pillow_heif.register_heif_opener()
    stream.seek(0)
    return Image.open(stream)


def _turn_upright(picture: Image.Image) -> None:
    """As its EXIF says; as it is stored, as viewers show it, if its EXIF is damaged."""
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of more bits become "L", or "LA" if one of their values is transparent."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = _finite(numpy.asarray(picture).astype(numpy.float64))
    low, high = _ends(picture, values)
    grey = ((values - low) / (high - low) * 255).clip(0, 255).round().astype(numpy.uint8)
    if getattr(picture, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    key = picture.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(grey)
    return Image.fromarray(numpy.stack([grey, numpy.where(values == key, 0, 255)], -1).astype("u1"))


def _finite(values: numpy.ndarray) -> numpy.ndarray:
    """Infinite values become the largest and smallest of the others, missing ones 0."""
    others = values[numpy.isfinite(values)]
    ends = {"posinf": others.max(initial=0), "neginf": others.min(initial=0)}
    return numpy.nan_to_num(values, **ends)


def _ends(picture: Image.Image, values: numpy.ndarray) -> tuple[float, float]:
    """The values of black and white: by the bit depth, where whole numbers have no sign."""
    if picture.mode.startswith("I;16"):
        bits = getattr(picture, "tag_v2", {}).get(BITS, (16,))[0]
        return 0, 2**bits - 1
    if picture.mode == "I" and picture.format in SCALED_TO_16:
        return 0, 65535
    low, high = min(0, values.min()), values.max()
    if low < 0:
        return low, max(0, high)
    scales = (1, 255, 65535) if picture.mode == "F" else (255, 65535)
    return 0, next((scale for scale in scales if high <= scale), high)


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(colours without alpha, alpha or None); "transparency" is a colour, or palette's alphas."""
    key = picture.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # as in a file of 16 bits, which Pillow halves
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    if key is not None:
        picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
    elif picture.mode in UNPACKED:
        picture = picture.convert(UNPACKED[picture.mode])
    if picture.mode not in ("LA", "RGBA"):
        return picture, None
    return picture.convert(picture.mode[:-1]), picture.getchannel("A")


def _in_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB; a profile that is damaged, or of other channels, does not count."""
    with suppress(ImageCms.PyCMSError, ImportError, OSError):  # some Pillows have no ImageCms
        if profile:
            source, srgb = io.BytesIO(profile), ImageCms.createProfile("sRGB")
            intent = ImageCms.getDefaultIntent(io.BytesIO(profile))
            return ImageCms.profileToProfile(colours, source, srgb, intent, outputMode="RGB")
    return colours.convert("RGB")


def _on_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
