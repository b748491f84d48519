"""What a file says beside its pixels, carried over to a result: EXIF, and the colour profile of what is written."""

import functools
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms

from adasffuse.images.formats import open_exif
from adasffuse.images.georeference import MAP_TAGS
from adasffuse.images.image import Image as ImageOfFile
from adasffuse.images.stored import DAMAGE

KEPT = ("none", "exif", "gps")  # gps: EXIF with the place where the image was taken
_NO_PLACE = "its place is not kept: results in TIFF hold none, those in PNG (8 and 16 bits) do"
_NO_MAP = (
    "its place on the map (GeoTIFF) is not kept: PNG files hold none; name the result NAME.tif or use --depth float"
)
_OTHER_PIXELS = "its place on the map (GeoTIFF) is not kept: only pairs keep it, on their own pixels in a regular grid"
_LEFT_OUT = (  # of EXIF's own tags: maker notes, which may hold the place, and what describes the source's own pixels
    ExifTags.Base.MakerNote,
    ExifTags.Base.ColorSpace,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.ComponentsConfiguration,
    ExifTags.Base.CompressedBitsPerPixel,
    ExifTags.IFD.Interop,
)
_TEXTS = {  # EXIF's texts, and the tags of TIFF that hold the same
    ExifTags.Base.ImageDescription: 270,
    ExifTags.Base.Make: 271,
    ExifTags.Base.Model: 272,
    ExifTags.Base.DateTime: 306,
    ExifTags.Base.Artist: 315,
    ExifTags.Base.Copyright: 33432,
}
_TAKEN = (*_TEXTS, ExifTags.Base.Software)  # the rest describes the file's layout, or may hold the place: XMP, GeoTIFF


@dataclass(frozen=True)
class Metadata:
    """What is written beside the pixels of a result."""

    exif: bytes | None  # as in a PNG's eXIf chunk, without a header
    texts: tuple[tuple[int, bytes], ...]  # TIFF tags
    profile: bytes  # ICC, sRGB; for images with colour
    place: bool = False  # whether the EXIF data say where the image was taken; TIFF files are written without it
    on_map: bool = False  # whether the source says where on the map it lies, and this was to be kept
    map_tags: tuple[tuple[int, str, object], ...] = ()  # of a result on the map, see `Plane`; PNG files lack them
    valid: np.ndarray | None = None  # (H, W) bool, False where it holds no data: alpha 0, of floating point NaN


def lost_place(path: Path, metadata: Metadata | None) -> str:
    """What to say of the place that a file of this name is written without; '' where none is lost."""
    if metadata is None:
        return ""
    if metadata.map_tags:
        return _NO_MAP if path.suffix.lower() == ".png" else ""
    if metadata.on_map:
        return _OTHER_PIXELS
    return _NO_PLACE if metadata.place and path.suffix.lower() != ".png" else ""


def read_metadata(path: str | Path, keep: str, images: Sequence[ImageOfFile] = ()) -> Metadata | None:
    """What to carry over from a source; None for 'none'.

    Description, camera, program, date, author, copyright and EXIF's own tags are taken, maker notes are not; the
    place only where `keep` is 'gps'.

    Args:
        keep: one of `KEPT`.
        images: of all sources as they are fused, on one grid: the first that still lies on the map tells the place of
            all, for `gps`.
    Raises:
        ImageError: no such file.
        ValueError: `keep` is none of them.
    """
    if keep not in KEPT:
        raise ValueError(f"metadata to keep is one of {', '.join(KEPT)}, got {keep!r}")
    if keep == "none":
        return None
    with open_exif(path) as old:
        texts = {tag: str(old[tag]).encode("latin-1", "replace") for tag in _TAKEN if old.get(tag)}
        inner = {tag: value for tag, value in _ifd(old, ExifTags.IFD.Exif).items() if tag not in _LEFT_OUT}
        place = _ifd(old, ExifTags.IFD.GPSInfo) if keep == "gps" else {}
        on_map = keep == "gps" and any(tag in old for tag in MAP_TAGS)
    new = Image.Exif()
    new.update(texts)  # the source's bytes; Pillow would write "?" for what is not ASCII
    for ifd, values in ((ExifTags.IFD.Exif, inner), (ExifTags.IFD.GPSInfo, place)):
        kept = {tag: value for tag, value in values.items() if _is_writable(ifd, tag, value)}
        if kept:  # asking for a part makes an empty one
            new.get_ifd(ifd).update(kept)
    data = new.tobytes().removeprefix(b"Exif\0\0") if texts or inner or place else None
    tags = tuple((tag, texts[name]) for name, tag in _TEXTS.items() if name in texts)
    placed = [image.plane.map_tags for image in images if image.plane is not None and image.plane.map_tags]
    map_tags = placed[0] if placed and keep == "gps" else ()
    return Metadata(data, tags, srgb_profile(), bool(place), on_map, map_tags)


class Exposure(NamedTuple):
    """How a shot was exposed, as EXIF states it; None for what it does not state."""

    bias: float | None  # EV more than the camera measured
    light: float | None  # log2 of exposure time, s, times ISO speed over squared f-number: brightness in EV


def exposure_of(path: str | Path) -> Exposure:
    """How a shot was exposed.  Without an exposure time there is no `light`; ISO speed and f-number may lack in all."""
    tags = ExifTags.Base
    with open_exif(path) as exif:
        inner = _ifd(exif, ExifTags.IFD.Exif)
        bias = _number(inner.get(tags.ExposureBiasValue))
        seconds, speed, stop = (
            _number(inner.get(tag)) for tag in (tags.ExposureTime, tags.ISOSpeedRatings, tags.FNumber)
        )
    if not seconds or seconds < 0:
        return Exposure(bias, None)
    factors = [factor for factor in (seconds, speed) if factor and factor > 0]
    return Exposure(bias, sum(map(math.log2, factors)) - 2 * math.log2(stop if stop and stop > 0 else 1))


def _number(value: object) -> float | None:
    """A finite number of EXIF data, of several the first; None where there is none."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _ifd(exif: Image.Exif, ifd: int) -> dict:
    """A part of EXIF data, empty where it is broken."""
    try:
        return exif.get_ifd(ifd)
    except DAMAGE:
        return {}


def _is_writable(ifd: int, tag: int, value: object) -> bool:
    """Whether a tag can be written; of broken EXIF data Pillow reads values that no file may hold."""
    alone = Image.Exif()
    alone.get_ifd(ifd)[tag] = value
    try:
        alone.tobytes()
    except DAMAGE:
        return False
    return True


def with_png_metadata(content: bytes, metadata: Metadata, colour: bool) -> bytes:
    """A PNG file with EXIF data and, where it has colour, an ICC profile, behind its header chunk."""
    end = 8 + 4 + 4 + 13 + 4  # signature and IHDR
    chunks = _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(metadata.profile)) if colour else b""
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif)
    return content[:end] + chunks + content[end:]


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
