"""Pictures as people have them are learned as a viewer shows them; others are named and left out.

The right values are closed forms, or Pillow's own composition and colour management.
"""

import io
import logging
import struct
import zlib

import numpy
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from ppap_core.distillation.images import find_images, load_images
from ppap_core.distillation.training_set import build_training_set
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing

COLOURS = numpy.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=numpy.uint8)
ALPHA = numpy.random.default_rng(1).integers(0, 256, (6, 9, 1), dtype=numpy.uint8)
GREY = numpy.array([[0, 1, 127, 128, 254, 255]], dtype=numpy.uint8)
SIXTEEN = GREY.astype(numpy.uint16) * 257  # exactly these greys in 16 bits


def encode(array, kind="PNG", mode=None, **options):
    """`array` (a picture, or numbers of it) as the bytes of a file."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def png(header, rows, *chunks):
    """A PNG by hand. header: (width, height, bits, colour type); rows: bytes with their filters."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    parts = [(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def seen(folder, data, name="a.png"):
    """What is learned of a file: (H, W, 3)."""
    (folder / name).write_bytes(data)
    return load_images(folder)[0].permute(1, 2, 0).numpy()


def on_white(colours, alpha):
    return numpy.rint((colours * 1.0 * alpha + 255.0 * (255 - alpha)) / 255)


def grey_rgb(grey):
    return numpy.repeat(grey[..., None], 3, -1)


def with_tag(data, tag, value):
    """A TIFF of which the short number `tag` is changed in place."""
    at = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:at] + struct.pack("<H", value) + data[at + 2 :]


DEEP = {
    "png": encode(SIXTEEN),
    "tiff": encode(SIXTEEN, "TIFF"),
    "tiff, big endian": encode(SIXTEEN.astype(">u2"), "TIFF"),
    "pgm": b"P5\n6 1\n65535\n" + SIXTEEN.astype(">u2").tobytes(),
    "jpeg 2000": encode(SIXTEEN, "JPEG2000", irreversible=False),
    "tiff of 32 bits": encode(SIXTEEN.astype(numpy.int32), "TIFF"),
    "tiff of 32 bits, 8 used": encode(GREY.astype(numpy.int32), "TIFF"),
    "tiff of floats": encode(SIXTEEN.astype(numpy.float32), "TIFF"),
    "tiff of floats to 255": encode(GREY.astype(numpy.float32), "TIFF"),
    "tiff of floats to 1": encode((GREY / 255).astype(numpy.float32), "TIFF"),
    "pfm": encode((GREY / 255).astype(numpy.float32), "PPM"),
    "tiff, white is zero": with_tag(encode(65535 - SIXTEEN, "TIFF"), 262, 0),
    "8 bits": encode(GREY),
}


@pytest.mark.parametrize("name", DEEP)
def test_grey_of_any_depth_is_scaled_as_a_viewer_does(tmp_path, name):
    assert (seen(tmp_path, DEEP[name]) == grey_rgb(GREY)).all()


def test_floats_without_a_number_leave_the_others_as_they_are(tmp_path):
    floats = (GREY / 255).astype(numpy.float32)
    floats[0, :3] = numpy.inf, -numpy.inf, numpy.nan
    got, wanted = seen(tmp_path, encode(floats, "TIFF")), grey_rgb(GREY)
    assert (got[0, 3:] == wanted[0, 3:]).all() and (got[1:] == wanted[1:]).all()
    assert (got[0, :3, 0] == [255, 0, 0]).all()


def test_colours_of_sixteen_bits(tmp_path):
    wide = COLOURS.astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    assert (seen(tmp_path, png((9, 6, 16, 2), rows)) == COLOURS).all()


def palette_picture():
    palette = Image.fromarray(numpy.array([[0, 1, 2]], dtype=numpy.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 100, 0, 9, 9, 250])
    return palette


WIDE_KEY = b"\0" + numpy.array([[51400, 0, 0], [0, 65535, 0]], ">u2").tobytes()
TRANSPARENT = {
    "rgba": (
        encode(numpy.concatenate([COLOURS, ALPHA], -1)),
        on_white(COLOURS, ALPHA),
    ),
    "webp": (
        encode(numpy.concatenate([COLOURS, ALPHA], -1), "WEBP", lossless=True, exact=True),
        on_white(COLOURS, ALPHA),
    ),
    "grey and alpha": (
        encode(numpy.concatenate([COLOURS[..., :1], ALPHA], -1)),
        on_white(COLOURS[..., :1].repeat(3, -1), ALPHA),
    ),
    "palette, one colour": (
        encode(palette_picture(), transparency=1),
        [[[200, 0, 0], [255, 255, 255], [9, 9, 250]]],
    ),
    "palette, alphas": (
        encode(palette_picture(), transparency=bytes([0, 51, 255])),
        [[[255, 255, 255], [204, 224, 204], [9, 9, 250]]],
    ),
    "gif": (
        encode(palette_picture(), "GIF", transparency=2),
        [[[200, 0, 0], [0, 100, 0], [255, 255, 255]]],
    ),
    "a grey": (encode(GREY, transparency=1), grey_rgb(numpy.where(GREY == 1, 255, GREY))),
    "a grey of 16 bits": (
        encode(SIXTEEN, transparency=257),
        grey_rgb(numpy.where(GREY == 1, 255, GREY)),
    ),
    "a colour": (
        encode(COLOURS[:1, :2], transparency=tuple(COLOURS[0, 0].tolist())),
        [[[255, 255, 255], COLOURS[0, 1].tolist()]],
    ),
    "a colour of 16 bits": (
        png((2, 1, 16, 2), WIDE_KEY, (b"tRNS", struct.pack(">HHH", 0, 65535, 0))),
        [[[200, 0, 0], [255, 255, 255]]],
    ),
    "opaque": (encode(numpy.concatenate([COLOURS, 255 + 0 * ALPHA], -1)), COLOURS),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_parts_are_white_not_the_hidden_colours(tmp_path, name):
    data, wanted = TRANSPARENT[name]
    assert numpy.abs(seen(tmp_path, data) - numpy.asarray(wanted)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_exif_turns_the_picture(tmp_path, orientation, kind, options):
    turned = {  # the EXIF standard: where row 0 and column 0 of the file are seen
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.swapaxes(0, 1),
        6: numpy.rot90(COLOURS, -1),
        7: COLOURS[::-1, ::-1].swapaxes(0, 1),
        8: numpy.rot90(COLOURS),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    assert (seen(tmp_path, encode(COLOURS, kind, exif=exif, **options)) == turned).all()


def test_a_deep_picture_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    assert (seen(tmp_path, encode(SIXTEEN, exif=exif)) == grey_rgb(GREY.T)).all()


def profile(swapped=True):
    """sRGB; swapped: with the colours of red and blue exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if not swapped:
        return data
    return data.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


@pytest.mark.parametrize(("kind", "mode"), [("PNG", None), ("TIFF", None), ("PNG", "RGBA")])
def test_colours_are_those_of_the_profile(tmp_path, kind, mode):
    data = encode(COLOURS, kind, mode, icc_profile=profile())
    assert numpy.abs(seen(tmp_path, data) - COLOURS[..., ::-1].astype(float)).max() <= 1


def test_a_palette_has_the_colours_of_the_profile(tmp_path):
    got = seen(tmp_path, encode(palette_picture(), icc_profile=profile()))
    wanted = numpy.array([[[0, 0, 200], [0, 100, 0], [250, 9, 9]]])
    assert numpy.abs(got - wanted).max() <= 1


@pytest.mark.parametrize("icc", [b"no profile", profile()[:200], profile(swapped=False)])
def test_a_damaged_profile_and_that_of_srgb_change_nothing(tmp_path, icc):
    assert (seen(tmp_path, encode(COLOURS, icc_profile=icc)) == COLOURS).all()


def test_a_profile_of_colours_does_not_count_for_grey(tmp_path):
    assert (seen(tmp_path, encode(GREY, icc_profile=profile())) == grey_rgb(GREY)).all()


def test_cmyk(tmp_path):
    ink = numpy.full((8, 8, 4), (0, 255, 255, 0), dtype=numpy.uint8)
    data = encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100)
    assert numpy.abs(seen(tmp_path, data) - numpy.array([255.0, 0, 0])).max() <= 4


def test_bilevel(tmp_path):
    bits = numpy.array([[0, 255, 0]], dtype=numpy.uint8)
    assert (seen(tmp_path, encode(bits, mode="1")) == grey_rgb(bits)).all()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_learned(tmp_path, kind):
    first, second = Image.new("RGB", (8, 8), (0, 0, 255)), Image.new("RGB", (8, 8), (255, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(first, kind, save_all=True, append_images=[second], **options)
    assert (seen(tmp_path, data) == [0, 0, 255]).all()


NAMES = {
    "a.BMP": "BMP",
    "a.tif": "TIFF",
    "a.TIFF": "TIFF",
    "a.WebP": "WEBP",
    "a.gif": "GIF",
    "a.JPG": "JPEG",
    "a.JPEG": "JPEG",
    "a.jfif": "JPEG",
    "a.avif": "AVIF",
    "a.ppm": "PPM",
    "a.png": "BMP",
    "a.jpg": "PNG",
}


@pytest.mark.parametrize("name", NAMES)
def test_usual_formats_are_found_whatever_the_file_is_called(tmp_path, name):
    data = encode(Image.new("RGB", (8, 8), (0, 128, 255)), NAMES[name])
    assert numpy.abs(seen(tmp_path, data, name) - numpy.array([0, 128.0, 255])).max() <= 3


def huge():
    """182 megapixels in 23 MB of zeros, packed."""
    side = 13_500
    return png((side, side, 1, 0), bytes((1 + (side + 7) // 8) * side))


GOOD = encode(COLOURS)
BAD = {
    "huge.png": (huge(), "182250000 pixels"),
    "cut.png": (GOOD[: len(GOOD) * 2 // 3], "truncated"),
    "cut.jpg": (encode(COLOURS, "JPEG")[:-200], ""),
    "empty.png": (b"", "the file is empty"),
    "page.jpg": (b"<html>not found</html>", "no picture"),
    "text.png": (
        png((9, 6, 8, 2), b"", (b"zTXt", b"k\0\0" + zlib.compress(bytes(9 << 20)))),
        "too large",
    ),
    "crc.png": (GOOD[:40] + bytes([GOOD[40] ^ 255]) + GOOD[41:], ""),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
}


@pytest.fixture
def guider():
    net = nn.Sequential(nn.Flatten(), nn.Linear(COLOURS.size, 3))
    info = GuiderInfo("timm/net", "net", "class", ("cone", "cube", "torus"), "f" * 64)
    return Guider(net, Preprocessing(COLOURS.shape[:2], (0.5,) * 3, (0.5,) * 3), info)


def test_training_goes_on_without_what_cannot_be_read(tmp_path, guider, caplog):
    for name, (data, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.png").write_bytes(GOOD)
    with caplog.at_level(logging.WARNING):
        data = build_training_set(tmp_path, guider)
    assert (data.states[0].permute(1, 2, 0).numpy() == COLOURS).all() and len(data) == 1
    lines = [r.message for r in caplog.records if "left out" in r.message]
    assert len(lines) == 1 and "\n" not in lines[0]
    assert f"{len(BAD)} of {len(BAD) + 1} pictures" in lines[0]
    told = dict(part.split(": ", 1) for part in lines[0].split("left out: ")[1].split("; "))
    assert told.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert reason in told[name] and str(tmp_path) not in told[name]


def test_only_when_no_picture_remains_it_is_an_error(tmp_path, guider):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 pictures .*a.png: the file is empty"):
        build_training_set(tmp_path, guider)


def test_many_bad_pictures_are_counted_in_one_short_line(tmp_path, caplog):
    for index in range(40):
        (tmp_path / f"{index:02}.png").write_bytes(b"")
    (tmp_path / "good.png").write_bytes(GOOD)
    assert len(load_images(tmp_path)) == 1
    assert "40 of 41 pictures" in caplog.text and "and 32 more" in caplog.text
    assert len(caplog.records) == 1 and len(caplog.text) < 800


HIDDEN = [
    ".thumbnails/a.png",
    "__MACOSX/a.png",
    "._a.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "deep/.cache/x/a.png",
    "Thumbs.db",
    "$RECYCLE.BIN/a.png",
]


def test_what_people_do_not_see_is_not_learned(tmp_path):
    for name in (*HIDDEN, "mine/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(GOOD)
    assert [line["file"] for line in find_images(tmp_path)] == ["mine/a.png"]


def test_a_folder_of_pictures_may_itself_be_hidden_or_linked(tmp_path):
    folder = tmp_path / ".run" / "pictures"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(GOOD)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "linked").symlink_to(folder)
    assert len(load_images(folder)) == 1
    assert [line["file"] for line in find_images(tmp_path / "all")] == ["linked/a.png"]


def test_pillows_own_warnings_about_readable_pictures_are_not_shown(tmp_path, recwarn):
    data = encode(COLOURS, "JPEG", exif=b"Exif\0\0II*\0junkjunkjunk")
    assert seen(tmp_path, data).shape == COLOURS.shape
    assert torch.is_tensor(load_images(tmp_path)) and not recwarn.list
