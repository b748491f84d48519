"""What a file says beside its pixels, carried over to a result: EXIF, and the colour profile of what is written."""

import functools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from adasffuse.images.image import ImageError

KEPT = ("none", "exif", "gps")  # gps: EXIF with the place where the image was taken
_MAKER_NOTE, _WIDTH, _HEIGHT, _INTEROP = 0x927C, 0xA002, 0xA003, 0xA005
_LEFT_OUT = (_MAKER_NOTE, _WIDTH, _HEIGHT, _INTEROP)  # of EXIF's own tags; maker notes may hold the place
_TEXTS = {  # EXIF tags that TIFF files have as tags of their own
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


def read_metadata(path: str | Path, keep: str) -> Metadata | None:
    """What to carry over from a source; None for 'none'.

    Description, camera, program, date, author, copyright and EXIF's own tags are taken, maker notes are not; the
    place only where `keep` is 'gps'.

    Args:
        keep: one of `KEPT`.
    Raises:
        ImageError: no such file.
        ValueError: `keep` is none of them.
    """
    if keep not in KEPT:
        raise ValueError(f"metadata to keep is one of {', '.join(KEPT)}, got {keep!r}")
    if keep == "none":
        return None
    old, new = _exif_of(path), Image.Exif()
    for tag in _TAKEN:
        if old.get(tag):
            new[tag] = str(old[tag]).encode("latin-1", "replace")  # the source's bytes; Pillow would write "?"
    inner = {tag: value for tag, value in old.get_ifd(ExifTags.IFD.Exif).items() if tag not in _LEFT_OUT}
    new.get_ifd(ExifTags.IFD.Exif).update(inner)
    place = old.get_ifd(ExifTags.IFD.GPSInfo) if keep == "gps" else {}
    new.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    texts = tuple((tag, new[name]) for name, tag in _TEXTS.items() if new.get(name))
    data = new.tobytes().removeprefix(b"Exif\0\0") if len(new) or inner or place else None
    return Metadata(data, texts, srgb_profile())


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


def _exif_of(path: str | Path) -> Image.Exif:
    try:
        with Image.open(path) as image:
            return image.getexif()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return Image.Exif()  # what Pillow does not know has no EXIF data that could be kept


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
