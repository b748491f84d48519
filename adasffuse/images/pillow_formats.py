"""PNG, JPEG, BMP, WebP, GIF, Netpbm, JPEG 2000, AVIF and HEIC: values as they are stored.

Pillow decodes what has 8 bits per channel; imagecodecs decodes deeper PNG and JPEG 2000, which Pillow would reduce to 8
bits without a word, and the kinds of JPEG that Pillow does not know; pi_heif adds HEIC to Pillow.
"""

import io
import math
import re
import struct
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile as PillowFile

from adasffuse.images.extras import import_optional
from adasffuse.images.masks import without_alpha
from adasffuse.images.stored import DAMAGE, ImageFile, Stored, check_size

# Pillow's classes rather than `PIL.Image.open`: no global registry, and no limit of 179 million pixels.
_PILLOW_CLASSES = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "Netpbm": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_DEEP_DECODERS = {"PNG": imagecodecs.png_decode, "JPEG 2000": imagecodecs.jpeg2k_decode}  # of more than 8 bits
_CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: its start, then the SIZ marker
_LOSSLESS_JPEG = {0xC3: imagecodecs.jpegsof3_decode, 0xF7: imagecodecs.jpegls_decode}  # by the marker of the frame
_MAKE, _ORIENTATION = 271, 274  # EXIF
_DJI_THERMAL = "APP3"  # segments of a JPEG in which DJI's cameras store thermal counts (ExifTool, DJI ThermalData)
PRIMARIES = {9: "BT.2020", 11: "P3", 12: "Display P3"}  # wider than sRGB's, of H.273
_TRANSFERS = {8: "linear light", 16: "HDR (PQ)", 18: "HDR (HLG)"}  # of H.273
_SRGB_GAMMA = 0.45455  # of PNG's gAMA chunk
_SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x and y of red, green and blue


def pillow_class(kind: str | None, path: Path) -> type[PillowFile] | None:
    """Pillow's class for files of a format, None where it has none.

    Args:
        kind: the format.
        path: the file, for the error.
    Raises:
        ImageError: the file is HEIC, and the package that reads it is not installed.
    """
    if kind == "HEIC":
        return import_optional("pi_heif", path).HeifImageFile
    return _PILLOW_CLASSES.get(kind)


def open_pillow(data: bytes, kind: str, path: Path) -> ImageFile:
    """An image of one of the formats that have a `pillow_class`.

    Args:
        data: content of the file.
        kind: the format.
        path: the file, for errors.
    Raises:
        ImageError: a package is not installed.
        RefusedError: it has too many pixels.
        Exception: one of `DAMAGE`.
    """
    if kind == "Netpbm":
        header = _netpbm_header(data)
        if header is not None and header.largest > 255:
            return _open_deep_netpbm(data, header)
    if kind == "JPEG":
        frame = _jpeg_frame(data)
        if frame is not None and (frame.bits > 8 or frame.marker in _LOSSLESS_JPEG):
            return _open_other_jpeg(data, frame)
    image = pillow_class(kind, path)(io.BytesIO(data))
    bits = image.info["bit_depth"] if kind == "HEIC" else _bits(data, kind)
    is_deep = bits > 8 and kind in _DEEP_DECODERS
    check_size(image.height, image.width)
    if kind == "JPEG 2000" and (profile := _jp2_profile(data)):
        # Pillow does not look for it.  imagecodecs applies it, coarsely, unless it gets the codestream alone.
        image.info["icc_profile"] = profile
        data = data[data.find(_CODESTREAM) :]
    notices = _pillow_notices(image, kind, bits, data)

    def decode() -> Stored:
        if is_deep:
            values, opaque, more = without_alpha(_DEEP_DECODERS[kind](data))
            space = "gray" if values.ndim == 2 else "rgb"
            span = (0, 2**bits - 1) if values.dtype.kind == "u" else None
            profile = image.info.get("icc_profile") or None
            return Stored(values, space, (*more, *notices), span, opaque=opaque, profile=profile)
        return stored_of_pillow(image, notices)

    depth = "16" if is_deep else "8"
    return ImageFile(image.height, image.width, depth, _exif_orientation(image, data, kind), decode)


def stored_of_pillow(image: Image.Image, notices: tuple[str, ...]) -> Stored:
    """What a PIL image of at most 8 bits per channel holds, read as gray, RGB or CMYK."""
    profile = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        return Stored(np.asarray(image), "cmyk", notices, (0, 255), profile=profile)
    has_alpha = "transparency" in image.info or bool({"A", "a"} & set(image.getbands()))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if has_alpha:
        mode += "A"
    values, opaque, more = without_alpha(np.asarray(image if image.mode == mode else image.convert(mode)))
    space = "gray" if values.ndim == 2 else "rgb"
    return Stored(values, space, (*more, *notices), (0, 255), opaque=opaque, profile=profile)


def _bits(data: bytes, kind: str) -> int:
    """Bits per channel."""
    if kind == "PNG":
        return data[24]  # of the IHDR chunk
    if kind == "JPEG 2000":
        start = data.find(_CODESTREAM)
        return (data[start + 42] & 127) + 1 if start >= 0 else 8
    if kind == "AVIF":
        start = data.find(b"av1C")  # box of the codec's configuration
        flags = data[start + 6] if start >= 0 else 0
        high_bitdepth, twelve_bit = flags & 64, flags & 32
        if high_bitdepth:
            return 12 if twelve_bit else 10
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
        values = _LOSSLESS_JPEG.get(frame.marker, imagecodecs.jpeg8_decode)(data)
        return Stored(values, "gray" if values.ndim == 2 else "rgb", span=(0, 2**frame.bits - 1))

    return ImageFile(frame.height, frame.width, "16" if frame.bits > 8 else "8", 1, decode)


def _pillow_notices(image: Image.Image, kind: str, bits: int, data: bytes) -> tuple[str, ...]:
    """What of the file is not read, or not as it may be meant."""
    notices = []
    if kind != "Netpbm" and getattr(image, "is_animated", False):
        notices.append("holds several pages or frames, only the first is read")
    notices += _code_notices(image, kind, data) or png_notices(image)  # numbers go before what the other chunks say
    if kind == "JPEG" and any(name == _DJI_THERMAL for name, _ in image.applist) and _exif(image, _MAKE) == "DJI":
        notices.append(
            "only its rendering is read, not DJI's thermal data in it; to fuse temperatures, export them as TIFF with "
            "DJI's software"
        )
    if kind in ("AVIF", "HEIC") and bits > 8:
        notices.append(f"its {bits} bits per channel are read as 8")
    return tuple(notices)


def _code_notices(image: Image.Image, kind: str, data: bytes) -> list[str]:
    """What is to be said of a PNG, AVIF or HEIC file that says by numbers (ITU-T H.273) that it is not sRGB."""
    codes, is_limited = None, False
    if kind == "PNG" and (place := data.find(b"cICP", 0, data.find(b"IDAT"))) >= 0:
        codes, is_limited = (data[place + 4], data[place + 5]), data[place + 7] == 0
    if kind in ("AVIF", "HEIC") and (place := data.find(b"colrnclx")) >= 0:
        codes = struct.unpack_from(">HH", data, place + 8)
    if codes is None:
        return []
    primaries, transfer = codes
    said = [_TRANSFERS[transfer]] if transfer in _TRANSFERS else []
    if primaries in PRIMARIES and not image.info.get("icc_profile"):  # a profile tells the same, and is used
        said.append(PRIMARIES[primaries])
    if is_limited:
        said.append("limited range")
    if not said:
        return []
    return [f"its colours are {' with '.join(said)}, which is ignored: values are read as sRGB; convert it to sRGB"]


def png_notices(image: Image.Image) -> tuple[str, ...]:
    """What is to be said of a PNG file whose gAMA or cHRM chunk alone says that its values are not those of sRGB."""
    if {"srgb", "icc_profile"} & set(image.info):
        return ()
    said = []
    gamma, places = image.info.get("gamma"), image.info.get("chromaticity")
    if gamma and abs(gamma - _SRGB_GAMMA) >= 0.02:
        said.append(f"its gAMA chunk says {gamma:g}")
    if places and max(abs(one - other) for one, other in zip(places[2:], _SRGB_PRIMARIES)) >= 0.02:
        said.append("its cHRM chunk names other primaries than sRGB's")
    return tuple(f"{one}, which is ignored: values are read as sRGB; convert it if they are not" for one in said)


def _jp2_profile(data: bytes) -> bytes | None:
    """The ICC profile of a JPEG 2000 file, in a box 'colr' of method 2 or 3 (ISO/IEC 15444-1, I.5.3.3)."""
    found = re.search(rb"(....)colr[\2\3]", data[: max(0, data.find(b"jp2c"))], re.DOTALL)
    return data[found.start() + 11 : found.start() + int.from_bytes(found[1], "big")] if found else None


def _exif_orientation(image: Image.Image, data: bytes, kind: str) -> int:
    """1 to 8; 1, upright, where the file does not say."""
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


class _NetpbmHeader(NamedTuple):
    """What the header of a PGM or PPM file states."""

    magic: bytes  # b'P2', b'P5': gray, b'P3', b'P6': RGB; b'P2' and b'P3' are text
    width: int  # pixels
    height: int
    largest: int  # value of white
    end: int  # where the pixels start


def _netpbm_header(data: bytes) -> _NetpbmHeader | None:
    """The header of a PGM or PPM file; None where there is none."""
    gap = rb"(?:\s|#[^\n]*\n)+"
    found = re.match(rb"(P[2356])" + (gap + rb"(\d{1,9})") * 3 + rb"(?:#[^\n]*)?\s", data)
    return _NetpbmHeader(found[1], *(int(found[k]) for k in (2, 3, 4)), found.end()) if found else None


def _open_deep_netpbm(data: bytes, header: _NetpbmHeader) -> ImageFile:
    """A PGM or PPM file of values above 255."""
    shape = (header.height, header.width)
    if header.magic in (b"P3", b"P6"):
        shape = (*shape, 3)

    def decode() -> Stored:
        if header.largest > 65535:
            raise ValueError(f"its largest value is {header.largest}, more than 65535")
        count = math.prod(shape)
        if header.magic in (b"P5", b"P6"):
            values = np.frombuffer(data, ">u2", count, header.end).astype(np.uint16)
        else:
            values = np.array(data[header.end :].split(maxsplit=count)[:count], dtype=np.uint16)
        return Stored(values.reshape(shape), "gray" if len(shape) == 2 else "rgb", span=(0, header.largest))

    return ImageFile(header.height, header.width, "16", 1, decode)
