"""Decoding of image files: values as they are stored, and what the file says about them.

The first bytes of a file decide on its format, never its suffix.  Pillow decodes what has 8 bits per channel, tifffile
all TIFF, imagecodecs PNG and JPEG 2000 of more bits (Pillow would reduce 16-bit colour to 8 bits without a word), and
the kinds of JPEG that Pillow does not know.
Header and limits are judged before memory for pixels is asked for.
"""

import io
import logging
import math
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from adasffuse.files import NO_ADDRESS, is_address
from adasffuse.images.extras import is_installed
from adasffuse.images.image import ImageError, Plane
from adasffuse.installation import install_command

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or what it finds in damaged files goes to stderr

RAW_SUFFIXES = frozenset(  # of cameras; their files look like TIFF, or like nothing known
    {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".nrw", ".3fr"}
)
RADIOMETRIC = b"FLIR\0"  # how FLIR's segments of a JPEG begin
SEARCHED = 1 << 20  # bytes of a JPEG in which they are looked for
MAX_BYTES = 2**32  # of a file
MAX_PIXELS = 2**30  # of an image, e.g. 32768 x 32768
EXPECTED = "expected a PNG, JPEG, TIFF, BMP, WebP, GIF, PGM, PPM, JPEG 2000, AVIF or DICOM image"
# Pillow's classes rather than `PIL.Image.open`: no global registry, and no limit of 179 million pixels.
_PILLOW = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "Netpbm": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_SIGNATURES = (
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("JPEG", rb"\xff\xd8\xff"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("BMP", rb"BM"),
    ("WebP", rb"RIFF....WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("Netpbm", rb"P[1-6][\s#]"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("AVIF", rb"....ftyp(avi[fs]|mif1|msf1)"),
)
_LOSSLESS_JPEG = {0xC3: "jpegsof3_decode", 0xF7: "jpegls_decode"}  # decoders of imagecodecs by the marker of the frame
_PAGE = re.compile(r"(.+)\[(\d+)\]")  # a page of a file: 'z.tif[3]'
HEAD = 132  # bytes that are looked at to find the format
_SHORT_ELEMENTS = (b"CS", b"DA", b"IS", b"LO", b"SH", b"TM", b"UI", b"UL")  # DICOM's value representations
_MAKE, _ORIENTATION, _ICC_PROFILE, _GDAL_NODATA, _SMALLEST, _LARGEST = 271, 274, 34675, 42113, 340, 341  # TIFF and EXIF
_DJI_THERMAL = "APP3"  # segments of a JPEG in which DJI's cameras store thermal counts (ExifTool, DJI ThermalData)
_SRGB_GAMMA = 0.45455  # of PNG's gAMA chunk
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9  # photometric
_LOSSLESS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})  # compressions of TIFF: none, LZW, deflate, ...
# What the decoders raise on damaged files: Pillow and tifffile many kinds, imagecodecs RuntimeError.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    tifffile.TiffFileError,
)


_CONVERT = f"{EXPECTED}, convert it or take it out"
_NOT_FETCHED = (  # what lies in place of a file that was not downloaded, and what to do
    (rb"version https://git-lfs", "it is a pointer of Git LFS: run 'git lfs pull' in its repository"),
    (rb"\s*<(!doctype )?html", "it is a web page: download the image itself"),
)


@dataclass(frozen=True)
class Stored:
    """What a file holds, before anything is made of it."""

    values: np.ndarray  # (H, W) or (H, W, C), as stored
    space: str  # 'gray', 'rgb', 'cmyk' (4 channels, 0 is no ink) or 'lab' (float L* a* b*)
    notices: tuple[str, ...] = ()  # without the file's name
    span: tuple[float, float] | None = None  # values of black and white; None: the file does not say
    inverted: bool = False  # the smallest value is white
    no_data: float | None = None  # the file's own value for "no data"
    profile: bytes | None = None  # ICC
    fixed: bool = False  # the span is what the file asks for, however little of it is used
    curve: np.ndarray | None = None  # (H, W) in [0, 1]: how the file asks to show its values; a range replaces it
    span_notice: str = ""  # what a user should know where no other range replaces the span
    plane: Plane | None = None  # of a DICOM file


@dataclass(frozen=True)
class ImageFile:
    """An opened image file: its header, and how to get at its pixels."""

    height: int  # pixels, before it is turned
    width: int
    depth: str  # '8', '16' or 'float'
    orientation: int  # EXIF, 1..8; 1 is upright
    decode: Callable[[], Stored]  # raises what the decoders raise; call it within `open_image`


@contextmanager
def open_image(path: str | Path, thermal: bool = False) -> Iterator[ImageFile]:
    """Open an image file and judge its header.

    Args:
        path: a file, or a page of a TIFF file with several: 'z.tif[3]', counted from 0.
        thermal: of a radiometric JPEG the temperatures are wanted, not its rendering in false colours.

    Raises:
        ImageError: at opening or from within the block: no such file, no regular file, empty, larger than MAX_BYTES
            or MAX_PIXELS, no image, or damaged.
    """
    path = Path(path)
    place, page = _file_and_page(path)
    try:
        with regular_file(place) as file:
            head = file.read(HEAD)
            kind = _image_format(head)
            file.seek(0)
            if page is not None and kind != "TIFF":
                raise ImageError(f"{path}: only TIFF files have pages; give the file itself")
            if path.name.lower().endswith((".nii", ".nii.gz")):
                raise ImageError(f"{path}: a volume, where an image is expected; adasffuse fuse and info take volumes")
            if kind is None and path.suffix.lower() not in RAW_SUFFIXES:
                cures = (cure for pattern, cure in _NOT_FETCHED if re.match(pattern, head, re.IGNORECASE))
                raise ImageError(f"{path}: not a readable image; {next(cures, _CONVERT)}")
            opened = _open_extra(path, kind, file, thermal)
            if opened is None:
                opened = _open_tiff(file, page) if kind == "TIFF" else _open_pillow(file.read(), kind)
            if opened.height * opened.width > MAX_PIXELS:
                size = f"{opened.width} x {opened.height} pixels"
                raise ImageError(f"{path}: {size}, more than the limit of {MAX_PIXELS}; cut or shrink it first")
            yield opened
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for its pixels; cut or shrink it first") from None
    except NotImplementedError as error:
        raise ImageError(f"{path}: of an unusual kind ({error}); export it as PNG") from error
    except DAMAGE as error:
        raise ImageError(f"{path}: damaged or truncated ({error}); {EXPECTED}, copy or export it again") from error


def file_of(path: Path) -> Path:
    """The file that a path leads to: of a page, such as 'z.tif[3]', the file that holds it."""
    return _file_and_page(path)[0]


def _file_and_page(path: Path) -> tuple[Path, int | None]:
    found = _PAGE.fullmatch(path.name)
    if found is None or path.exists():
        return path, None
    return path.with_name(found[1]), int(found[2])


def _image_format(head: bytes) -> str | None:
    """Name of the format that a file's first HEAD bytes show, None where it is none that is read here."""
    if is_dicom(head):  # its first bytes may be those of a TIFF
        return "DICOM"
    return next((name for name, pattern in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)


def is_dicom(head: bytes) -> bool:
    """Whether the first HEAD bytes are those of a DICOM file.

    One without preamble, as older programs and network transfers write it, begins with two data elements of group 2 or
    8 in ascending order, the first of them short.
    """
    if head[128:132] == b"DICM":
        return True
    return len(head) >= HEAD and any(_begins_with_elements(head, order) for order in "<>")


def _begins_with_elements(head: bytes, order: str) -> bool:
    """Whether bytes begin with data elements of DICOM in a byte order, '<' or '>'."""
    group, element = struct.unpack_from(f"{order}HH", head)
    explicit = head[4:6] in _SHORT_ELEMENTS
    (length,) = struct.unpack_from(f"{order}H", head, 6) if explicit else struct.unpack_from(f"{order}I", head, 4)
    if group not in (2, 8) or length % 2 or length > HEAD - 12:
        return False
    following = struct.unpack_from(f"{order}HH", head, 8 + length)
    return following[0] in (2, 8) and following > (group, element)


def _open_extra(path: Path, kind: str | None, file: BinaryIO, thermal: bool) -> "ImageFile | None":
    """What an optional package decodes; None for other files.  The modules are loaded where a file needs them."""
    if kind == "DICOM":
        from adasffuse.images.dicom import decode_dicom, open_dicom

        height, width, depth, data_set = open_dicom(path)
        return ImageFile(height, width, depth, 1, lambda: decode_dicom(path, data_set))
    if kind in (None, "TIFF") and path.suffix.lower() in RAW_SUFFIXES:
        from adasffuse.images.camera_raw import decode_raw, size_of_raw

        return ImageFile(*size_of_raw(path), "16", 1, lambda: decode_raw(path))
    if kind == "JPEG" and thermal:
        radiometric = RADIOMETRIC in file.read(SEARCHED)
        file.seek(0)
        if radiometric and is_installed("flyr"):
            from adasffuse.images.flir import thermal_image

            stored = thermal_image(path)
            return ImageFile(*stored.values.shape, "float", 1, lambda: stored)
        if radiometric:
            opened = _open_pillow(file.read(), kind)
            notice = f"its colours are a rendering; to read its temperatures: {install_command('thermal')}"
            return replace(opened, decode=lambda: _with_notice(opened.decode(), notice))
    return None


def is_radiometric(path: str | Path) -> bool:
    """Whether a file is a JPEG with FLIR's segments; False for what is no regular file."""
    path = Path(path)
    if not path.is_file():
        return False
    with regular_file(path) as file:
        start = file.read(SEARCHED)
    return _image_format(start[:HEAD]) == "JPEG" and RADIOMETRIC in start


def holds_image(path: str | Path) -> bool:
    """Whether a file is an image by its first bytes, or a camera's raw file by its name; errors as `open_image`."""
    with regular_file(Path(path)) as file:
        return _image_format(file.read(HEAD)) is not None or Path(path).suffix.lower() in RAW_SUFFIXES


@contextmanager
def open_exif(path: str | Path) -> Iterator[Image.Exif]:
    """EXIF data of a file, to be used within the block; empty where it has none, broken ones, or Pillow reads none.

    Raises:
        ImageError: as `regular_file`.
    """
    with regular_file(Path(path)) as file:
        kind = _image_format(file.read(HEAD))
        file.seek(0)
        opener = TiffImagePlugin.TiffImageFile if kind == "TIFF" else _PILLOW.get(kind)
        exif = Image.Exif()
        if opener:
            with suppress(*DAMAGE):
                exif = opener(file).getexif()
        yield exif


def _with_notice(stored: Stored, notice: str) -> Stored:
    return replace(stored, notices=(*stored.notices, notice))


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; devices, pipes and empty files (as in /proc) are refused without opening them."""
    try:
        status = path.stat()
    except FileNotFoundError:
        cure = NO_ADDRESS if is_address(path) else f"{EXPECTED}, check the name"
        raise ImageError(f"{path}: no such file; {cure}") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: cannot be read (is a directory); {EXPECTED}")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: not a regular file (a device, pipe or socket); {EXPECTED}, take it out")
    if status.st_size == 0:
        raise ImageError(f"{path}: the file is empty; {EXPECTED}, copy or export it again")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{path}: {status.st_size} bytes, more than the limit of {MAX_BYTES}; cut or shrink it first")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); {EXPECTED}") from error
    with file:
        yield file


# ---- Pillow, and the deep forms of its formats


def _open_pillow(data: bytes, kind: str) -> ImageFile:
    if kind == "Netpbm" and (header := _netpbm_header(data)) and header[3] > 255:
        return _open_deep_netpbm(data, *header)
    frame = _jpeg_frame(data) if kind == "JPEG" else None
    if frame is not None and (frame.bits > 8 or frame.marker in _LOSSLESS_JPEG):
        return _open_other_jpeg(data, frame)
    bits = _bits(data, kind)
    image = _PILLOW[kind](io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
        return ImageFile(image.height, image.width, "8", 1, image.tell)  # refused by the caller
    notices = _pillow_notices(image, kind, bits)
    profile = image.info.get("icc_profile") or None
    deep_codec = {"PNG": imagecodecs.png_decode, "JPEG 2000": imagecodecs.jpeg2k_decode}.get(kind)

    def decode() -> Stored:
        if bits > 8 and deep_codec:
            values = deep_codec(data)
            channels = 1 if values.ndim == 2 or values.shape[2] < 3 else 3
            values = values if values.ndim == 2 else values[..., 0] if channels == 1 else values[..., :3]
            space = "gray" if channels == 1 else "rgb"
            span = (0, 2**bits - 1) if values.dtype.kind == "u" else None
            return Stored(values, space, notices, span, profile=profile)
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "CMYK" if image.mode == "CMYK" else "RGB"
        values = np.asarray(image if image.mode == mode else image.convert(mode))
        space = {"L": "gray", "RGB": "rgb", "CMYK": "cmyk"}[mode]
        return Stored(values, space, notices, (0, 255), profile=profile)

    depth = "16" if bits > 8 and deep_codec else "8"
    return ImageFile(image.height, image.width, depth, _exif_orientation(image, data, kind), decode)


def _bits(data: bytes, kind: str) -> int:
    """Bits per channel."""
    if kind == "PNG":
        return data[24]  # of the IHDR chunk
    if kind == "JPEG 2000":
        start = data.find(b"\xff\x4f\xff\x51")  # start of codestream, then the SIZ marker
        return (data[start + 42] & 127) + 1 if start >= 0 else 8
    if kind == "AVIF":
        start = data.find(b"av1C")
        flags = data[start + 6] if start >= 0 else 0
        return 8 if not flags & 64 else 12 if flags & 32 else 10
    return 8


class _JpegFrame(NamedTuple):
    """What the frame header of a JPEG states."""

    marker: int
    bits: int  # per channel
    height: int  # pixels
    width: int
    channels: int


def _jpeg_frame(data: bytes) -> _JpegFrame | None:
    """The frame header of a JPEG; None where there is none that is known."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:  # up to the start of the scan
        if 0xC0 <= data[place + 1] <= 0xC3 or data[place + 1] in _LOSSLESS_JPEG:
            return _JpegFrame(data[place + 1], *struct.unpack_from(">BHHB", data, place + 4))
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _open_other_jpeg(data: bytes, frame: _JpegFrame) -> ImageFile:
    """JPEG Lossless, JPEG-LS or JPEG of 12 bits, as medical programs write them, which Pillow does not decode."""

    def decode() -> Stored:
        if frame.channels not in (1, 3):
            raise NotImplementedError(f"JPEG of {frame.bits} bits with {frame.channels} channels")
        values = getattr(imagecodecs, _LOSSLESS_JPEG.get(frame.marker, "jpeg8_decode"))(data)
        return Stored(values, "gray" if values.ndim == 2 else "rgb", span=(0, 2**frame.bits - 1))

    return ImageFile(frame.height, frame.width, "16" if frame.bits > 8 else "8", 1, decode)


def _pillow_notices(image: Image.Image, kind: str, bits: int) -> tuple[str, ...]:
    notices = []
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        notices.append("alpha channel dropped")
    if kind != "Netpbm" and getattr(image, "is_animated", False):
        notices.append("holds several pages or frames, only the first is read")
    notices += gamma_notices(image)
    if kind == "JPEG" and any(name == _DJI_THERMAL for name, _ in image.applist) and _exif(image, _MAKE) == "DJI":
        notices.append(
            "only its rendering is read, not DJI's thermal data in it; to fuse temperatures, export them as TIFF with "
            "DJI's software"
        )
    if kind == "AVIF" and bits > 8:
        notices.append(f"its {bits} bits per channel are read as 8")
    return tuple(notices)


def gamma_notices(image: Image.Image) -> tuple[str, ...]:
    """What is to be said of a PNG file whose gAMA chunk alone says that its values are not those of sRGB."""
    gamma = image.info.get("gamma")
    if not gamma or abs(gamma - _SRGB_GAMMA) < 0.02 or {"srgb", "icc_profile"} & set(image.info):
        return ()
    return (f"its gAMA chunk says {gamma:g}, which is ignored: values are read as sRGB; convert it if they are not",)


def _exif_orientation(image: Image.Image, data: bytes, kind: str) -> int:
    if kind == "PNG" and b"eXIf" not in data and b"Raw profile type exif" not in data:
        return 1  # asking Pillow would decode the whole image
    orientation = _exif(image, _ORIENTATION)
    return orientation if orientation in range(1, 9) else 1


def _exif(image: Image.Image, tag: int) -> object:
    """A value of an image's EXIF data, None where it has none."""
    try:
        return image.getexif().get(tag)
    except DAMAGE:  # broken EXIF data says nothing about the pixels; broken pixels show when they are decoded
        return None


def _netpbm_header(data: bytes) -> tuple[bytes, int, int, int, int] | None:
    """Magic, width, height, largest value and where the pixels start; None where there is no such header."""
    gap = rb"(?:\s|#[^\n]*\n)+"
    found = re.match(rb"(P[2356])" + (gap + rb"(\d{1,9})") * 3 + rb"(?:#[^\n]*)?\s", data)
    return (found[1], int(found[2]), int(found[3]), int(found[4]), found.end()) if found else None


def _open_deep_netpbm(data: bytes, magic: bytes, width: int, height: int, largest: int, start: int) -> ImageFile:
    channels = 3 if magic in (b"P3", b"P6") else 1

    def decode() -> Stored:
        if largest > 65535:
            raise ValueError(f"its largest value is {largest}, more than 65535")
        count = width * height * channels
        if magic in (b"P5", b"P6"):
            values = np.frombuffer(data, ">u2", count, start).astype(np.uint16)
        else:
            values = np.array(data[start:].split(maxsplit=count)[:count], dtype=np.uint16)
        shape = (height, width) if channels == 1 else (height, width, 3)
        return Stored(values.reshape(shape), "gray" if channels == 1 else "rgb", span=(0, largest))

    return ImageFile(height, width, "16", 1, decode)


# ---- TIFF


def _open_tiff(file: BinaryIO, number: int | None) -> ImageFile:
    """Page `number`, or, where it is None, the first one, with a notice if there are others."""
    tiff = tifffile.TiffFile(file)
    page = tiff.pages.first
    kind = page.dtype.kind if page.dtype is not None else "u"
    depth = "float" if kind == "f" or page.bitspersample > 16 else "16" if page.bitspersample > 8 else "8"
    orientation = _tag(page, _ORIENTATION)
    orientation = orientation if orientation in range(1, 9) else 1

    def decode() -> Stored:
        _judge_tiff(page, file)
        values = page.asarray(maxworkers=1) if number is None else _values_of_page(tiff, number)
        values = values.reshape(page.shaped)[:, 0]  # (planes, height, width, samples) of the first slice
        values = np.moveaxis(values, 0, -1).reshape(page.imagelength, page.imagewidth, -1)
        stored = _tiff_colour(page, values)
        more = number is None and _more_pages(tiff)
        several = ("holds several pages or frames, only the first is read; adasffuse stack fuses all",) if more else ()
        return replace(stored, notices=several + stored.notices)

    return ImageFile(page.imagelength, page.imagewidth, depth, orientation, decode)


def _values_of_page(tiff: tifffile.TiffFile, number: int) -> np.ndarray:
    """A page of the first series; of an ImageJ file only the first page may have a directory."""
    series, first = tiff.series[0], tiff.pages.first
    count = math.prod(first.shape)
    if not (number + 1) * count <= series.size:
        raise ValueError(f"it has {series.size // count} pages, counted from 0")
    if series.dataoffset is not None:
        kind = series.dtype.newbyteorder(tiff.byteorder)
        return tiff.filehandle.read_array(kind, count, series.dataoffset + number * count * kind.itemsize)
    page = series.pages[number]
    if page is None or page.shape != first.shape:
        raise NotImplementedError("its pages lie in other files, or differ in size")
    return page.asarray(maxworkers=1)


def _tag(page: tifffile.TiffPage, code: int) -> object:
    tag = page.tags.get(code)
    return tag.value if tag is not None else None


def _more_pages(tiff: tifffile.TiffFile) -> bool:
    """Whether a second image follows; smaller copies and masks of the first are none.  The chain is not walked."""
    if tiff.is_imagej and ((tiff.imagej_metadata or {}).get("images") or 1) > 1:
        return True
    try:
        second = tiff.pages[1]
    except DAMAGE:
        return False
    return not (second.is_reduced or second.is_mask)


def _judge_tiff(page: tifffile.TiffPage, file: BinaryIO) -> None:
    """Refuse what the header promises and the file cannot hold, before memory is asked for."""
    if page.dtype is None or page.dtype.kind not in "buif":
        raise NotImplementedError(f"{page.bitspersample} bits per channel, sample format {page.sampleformat}")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise NotImplementedError(f"compression {getattr(page.compression, 'name', page.compression)}")
    samples = page.imagewidth * page.imagelength * page.samplesperpixel * max(page.imagedepth, 1)
    if samples > 4 * MAX_PIXELS or math.prod(page.chunks) > 4 * MAX_PIXELS:
        raise ValueError(f"{samples} values, more than the limit of {4 * MAX_PIXELS}")
    if len(page.dataoffsets) < math.prod(page.chunked) and not page.is_contiguous:
        raise ValueError(f"{len(page.dataoffsets)} strips or tiles instead of {math.prod(page.chunked)}")
    size = file.seek(0, io.SEEK_END)
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        if offset + count > size:
            raise ValueError(f"pixels at byte {offset + count} of {size}")


def _tiff_colour(page: tifffile.TiffPage, values: np.ndarray) -> Stored:
    """What the (H, W, samples) values mean."""
    samples, photometric = values.shape[2], int(page.photometric)
    bits, unsigned = page.bitspersample, values.dtype.kind in "ub"
    span = (0, 2**bits - 1) if unsigned and bits <= 16 else None
    if values.dtype.kind == "f" and _values(page, _SMALLEST) == {0} and _values(page, _LARGEST) == {1}:
        span = (0, 1)  # what `write_image` states
    values = values.astype(np.uint8) if values.dtype == bool else values
    common = {"span": span, "no_data": _tiff_no_data(page), "profile": page.iccprofile}
    if photometric == _PALETTE:
        palette = np.asarray(page.colormap)
        scale = 256 if palette.max() > 255 else 1  # some writers store 8-bit colours
        rgb = (np.moveaxis(palette, 0, -1) // scale).astype(np.uint8)[values[..., 0]]
        return Stored(rgb, "rgb", span=(0, 255))
    if photometric in (_CIELAB, _ICCLAB) and samples >= 3 and unsigned and bits in (8, 16):
        return Stored(_lab(values[..., :3], photometric), "lab", ("CIE L*a*b* converted to sRGB",), span)
    if photometric == _CMYK and samples >= 4 and unsigned and bits in (8, 16):
        return Stored(values[..., :4], "cmyk", _extra_samples(page, samples, 4), **common)
    as_stored = photometric == _YCBCR and page.compression in _LOSSLESS  # tifffile converts that of JPEG
    if photometric in (_RGB, _YCBCR) and samples >= 3 and not as_stored:
        return Stored(values[..., :3], "rgb", _extra_samples(page, samples, 3), **common)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        if as_stored:
            raise NotImplementedError("YCbCr without JPEG compression")
        raise NotImplementedError(f"photometric interpretation {photometric} with {samples} channels")
    inverted = photometric == _WHITE_IS_ZERO
    alphas = sum(int(extra) in (1, 2) for extra in page.extrasamples)
    if samples - alphas >= 3:
        notices = (f"holds {samples} bands, the first three are read as red, green and blue",)
        return Stored(values[..., :3], "rgb", notices, inverted=inverted, **common)
    return Stored(values[..., 0], "gray", _extra_samples(page, samples, 1), inverted=inverted, **common)


def _values(page: tifffile.TiffPage, code: int) -> set:
    value = _tag(page, code)
    return set(value) if isinstance(value, tuple) else {value}


def _extra_samples(page: tifffile.TiffPage, samples: int, used: int) -> tuple[str, ...]:
    if samples == used:
        return ()
    if samples == used + 1 and any(int(extra) in (1, 2) for extra in page.extrasamples):
        return ("alpha channel dropped",)
    which = "the first is" if used == 1 else f"the first {used} are"
    return (f"holds {samples} bands, only {which} read",)


def _lab(values: np.ndarray, photometric: int) -> np.ndarray:
    """L* a* b* as float32 of the two encodings of TIFF, 8 or 16 bits."""
    unit = 256 if values.dtype == np.uint16 else 1
    signed = np.dtype(f"i{values.dtype.itemsize}")
    if photometric == _CIELAB:
        lightness = values[..., :1] * np.float32(100 / np.iinfo(values.dtype).max)
        return np.concatenate([lightness, values[..., 1:].view(signed) / np.float32(unit)], axis=2)
    lightness = values[..., :1] * np.float32(100 / (255 * unit))
    return np.concatenate([lightness, values[..., 1:] / np.float32(unit) - 128], axis=2)


def _tiff_no_data(page: tifffile.TiffPage) -> float | None:
    """GDAL's value for "no data"."""
    text = _tag(page, _GDAL_NODATA)
    try:
        return float(text) if text is not None else None
    except (TypeError, ValueError):
        return None
