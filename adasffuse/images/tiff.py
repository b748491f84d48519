"""TIFF files, decoded by tifffile: values as they are stored, and what the tags say about them."""

import io
import logging
import math
import re
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import tifffile

from adasffuse.images.georeference import plane_on_map
from adasffuse.images.masks import opaque_where
from adasffuse.images.stored import DAMAGE, MAX_PIXELS, ImageFile, RefusedError, Stored

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or what it finds in damaged files goes to stderr

SMALLEST_VALUE, LARGEST_VALUE = 340, 341  # tags SMinSampleValue and SMaxSampleValue: values of black and white
_FIRST_PAGES = 32  # among which the mask of the first one is looked for
_SEVERAL = "holds several pages or frames, only the first is read; adasffuse stack fuses all"
_ORIENTATION, _GDAL_METADATA, GDAL_NODATA = 274, 42112, 42113  # tags
_BAND_NAME = r'<Item[^>]*sample="(\d+)"[^>]*role="(?:colorinterp|description)"[^>]*>\s*(red|green|blue)\s*<'

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9  # photometric
_LOSSLESS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})  # compressions of TIFF: none, LZW, deflate, ...


def open_tiff(file: BinaryIO, number: int | None) -> ImageFile:
    """Page `number`, from 0, of a TIFF file; where it is None, the first one, with a notice if there are others.

    Raises:
        Exception: one of `DAMAGE`, or, of a kind that is not read, NotImplementedError.
    """
    tiff = tifffile.TiffFile(file)
    page = tiff.pages.first
    if page.bitspersample > 16 or (page.dtype is not None and page.dtype.kind == "f"):
        depth = "float"
    else:
        depth = "16" if page.bitspersample > 8 else "8"
    orientation = _tag(page, _ORIENTATION)
    orientation = orientation if orientation in range(1, 9) else 1

    def decode() -> Stored:
        _judge(page, file)
        values = page.asarray(maxworkers=1) if number is None else _values_of_page(tiff, number)
        values = values.reshape(page.shaped)[:, 0]  # (planes, height, width, samples) of the first slice
        values = np.moveaxis(values, 0, -1).reshape(page.imagelength, page.imagewidth, -1)
        stored = _interpret(page, values)
        if number is None and (mask := _internal_mask(tiff, values.shape[:2])) is not None:
            stored = replace(stored, opaque=mask if stored.opaque is None else mask & stored.opaque)
        if orientation == 1:
            stored = replace(stored, plane=plane_on_map(page.tags))
        if number is None and _has_more_pages(tiff):
            stored = replace(stored, notices=(_SEVERAL, *stored.notices))
        return stored

    return ImageFile(page.imagelength, page.imagewidth, depth, orientation, decode)


def _values_of_page(tiff: tifffile.TiffFile, number: int) -> np.ndarray:
    """A page of the first series; of an ImageJ file only the first page may have a directory."""
    series, first = tiff.series[0], tiff.pages.first
    size = math.prod(first.shape)
    count = series.size // size
    if number >= count:
        raise RefusedError(f"there is no page {number}, its first stack has {count}, counted from 0; give one of them")
    if series.dataoffset is not None:
        dtype = series.dtype.newbyteorder(tiff.byteorder)
        return tiff.filehandle.read_array(dtype, size, series.dataoffset + number * size * dtype.itemsize)
    page = series.pages[number]
    if page is None or page.shape != first.shape:
        raise NotImplementedError("its pages lie in other files, or differ in size")
    return page.asarray(maxworkers=1)


def _tag(page: tifffile.TiffPage, code: int) -> object:
    """The value of a tag, None where the page has none."""
    tag = page.tags.get(code)
    return tag.value if tag is not None else None


def _has_more_pages(tiff: tifffile.TiffFile) -> bool:
    """Whether a second image follows; smaller copies and masks of the first are none.  The chain is not walked."""
    if tiff.is_imagej and ((tiff.imagej_metadata or {}).get("images") or 1) > 1:
        return True
    try:
        second = tiff.pages[1]
    except DAMAGE:
        return False
    return not (second.is_reduced or second.is_mask)


def _internal_mask(tiff: tifffile.TiffFile, shape: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool, False where the mask that GDAL writes as a page of its own says "no data"; None without a mask.

    It follows the first page, smaller copies of which may lie between.
    """
    for number in range(1, _FIRST_PAGES):
        try:
            page = tiff.pages[number]
        except DAMAGE:
            return None
        if not (page.is_reduced or page.is_mask):
            return None
        if page.is_mask and (page.imagelength, page.imagewidth) == shape:
            return page.asarray(maxworkers=1).reshape(shape) != 0
    return None


def _judge(page: tifffile.TiffPage, file: BinaryIO) -> None:
    """Refuse what the header promises and the file cannot hold, before memory is asked for."""
    if page.dtype is None or page.dtype.kind not in "buif":
        raise NotImplementedError(f"{page.bitspersample} bits per channel, sample format {page.sampleformat}")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise NotImplementedError(f"compression {getattr(page.compression, 'name', page.compression)}")
    samples = page.imagewidth * page.imagelength * page.samplesperpixel * max(page.imagedepth, 1)
    if samples > 4 * MAX_PIXELS or math.prod(page.chunks) > 4 * MAX_PIXELS:
        raise RefusedError(f"{samples} values, more than the limit of {4 * MAX_PIXELS}; cut or shrink it first")
    if len(page.dataoffsets) < math.prod(page.chunked) and not page.is_contiguous:
        raise ValueError(f"{len(page.dataoffsets)} strips or tiles instead of {math.prod(page.chunked)}")
    size = file.seek(0, io.SEEK_END)
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        if offset + count > size:
            raise ValueError(f"pixels at byte {offset + count} of {size}")


def _interpret(page: tifffile.TiffPage, values: np.ndarray) -> Stored:
    """What the (H, W, samples) values mean."""
    samples, photometric = values.shape[2], int(page.photometric)
    bits, unsigned = page.bitspersample, values.dtype.kind in "ub"
    span = (0, 2**bits - 1) if unsigned and bits <= 16 else None
    if values.dtype.kind == "f" and _tag_set(page, SMALLEST_VALUE) == {0} and _tag_set(page, LARGEST_VALUE) == {1}:
        span = (0, 1)  # what `write_image` states
    values = values.astype(np.uint8) if values.dtype == bool else values
    opaque, said = _opaque(page, values)
    common = {"span": span, "no_data": _no_data(page), "profile": page.iccprofile, "opaque": opaque}
    if photometric == _PALETTE:
        palette = np.asarray(page.colormap)
        scale = 256 if palette.max() > 255 else 1  # some writers store 8-bit colours
        rgb = (np.moveaxis(palette, 0, -1) // scale).astype(np.uint8)[values[..., 0]]
        if (missing := _no_data(page)) is not None:  # a number of the palette
            opaque = values[..., 0] != missing
        return Stored(rgb, "rgb", said, span=(0, 255), opaque=opaque)
    if photometric in (_CIELAB, _ICCLAB) and samples >= 3 and unsigned and bits in (8, 16):
        notices = ("CIE L*a*b* converted to sRGB", *said)
        return Stored(_lab(values[..., :3], photometric), "lab", notices, span, opaque=opaque)
    if photometric == _CMYK and samples >= 4 and unsigned and bits in (8, 16):
        return Stored(values[..., :4], "cmyk", (*_other_bands(page, samples, 4), *said), **common)
    if photometric == _YCBCR and page.compression in _LOSSLESS:  # tifffile converts that of JPEG only
        raise NotImplementedError("YCbCr without JPEG compression")
    if photometric in (_RGB, _YCBCR) and samples >= 3:
        return Stored(values[..., :3], "rgb", (*_other_bands(page, samples, 3), *said), **common)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise NotImplementedError(f"photometric interpretation {photometric} with {samples} channels")
    inverted = photometric == _WHITE_IS_ZERO
    count = samples - len(_alphas(page))
    if count >= 3:
        named = _named_bands(page)
        which = "those that it names red, green and blue are read"
        if not named and count > 3:
            raise RefusedError(
                f"holds {count} bands and does not say which are red, green and blue, as of a multispectral camera; "
                "write these three, or a thermal band, to a file of their own: gdal_translate -b RED -b GREEN -b BLUE "
                "(their numbers, from 1)"
            )
        if not named:
            named = [0, 1, 2]
            which = "which are read as red, green and blue"
        notices = (f"holds {samples} bands, {which}", *said)
        return Stored(values[..., named], "rgb", notices, inverted=inverted, **common)
    return Stored(values[..., 0], "gray", (*_other_bands(page, samples, 1), *said), inverted=inverted, **common)


def _tag_set(page: tifffile.TiffPage, code: int) -> set:
    """The different values of a tag that has one for each channel."""
    value = _tag(page, code)
    return set(value) if isinstance(value, tuple) else {value}


def _named_bands(page: tifffile.TiffPage) -> list[int]:
    """The numbers of the bands that GDAL's metadata name red, green and blue; [] where one is not named."""
    items = re.findall(_BAND_NAME, str(_tag(page, _GDAL_METADATA) or ""), re.IGNORECASE)
    numbers = {name.lower(): int(number) for number, name in items if int(number) < page.samplesperpixel}
    return [numbers[name] for name in ("red", "green", "blue")] if len(numbers) == 3 else []


def _alphas(page: tifffile.TiffPage) -> list[int]:
    """The numbers of the channels that are alpha, from the last one, -1, on."""
    extras = page.extrasamples
    return [number - len(extras) for number, extra in enumerate(extras) if int(extra) in (1, 2)]


def _opaque(page: tifffile.TiffPage, values: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Where alpha is not 0, and notices, as `opaque_where`; of (H, W, samples) values."""
    alphas = _alphas(page)
    return opaque_where(values[..., alphas[0]]) if alphas else (None, ())


def _other_bands(page: tifffile.TiffPage, samples: int, used: int) -> tuple[str, ...]:
    """A notice of the channels beyond those that are used; () for none but alpha."""
    if samples == used + len(_alphas(page)[:1]):
        return ()
    which = "the first is" if used == 1 else f"the first {used} are"
    return (f"holds {samples} bands, only {which} read",)


def _lab(values: np.ndarray, photometric: int) -> np.ndarray:
    """L* in 0..100, a* and b*, (H, W, 3) float32, of one of TIFF's two encodings in 8 or 16 bits.

    CIELab has signed a* and b*; ICCLab adds 128, and in 16 bits ends L* at 0xFF00, as ICC profiles of version 2 do.
    """
    unit = 256 if values.dtype == np.uint16 else 1
    if photometric == _CIELAB:
        signed = np.int16 if values.dtype == np.uint16 else np.int8
        lightness = values[..., :1] * np.float32(100 / np.iinfo(values.dtype).max)
        return np.concatenate([lightness, values[..., 1:].view(signed) / np.float32(unit)], axis=2)
    lightness = values[..., :1] * np.float32(100 / (255 * unit))
    return np.concatenate([lightness, values[..., 1:] / np.float32(unit) - 128], axis=2)


def _no_data(page: tifffile.TiffPage) -> float | None:
    """GDAL's value for "no data"."""
    text = _tag(page, GDAL_NODATA)
    try:
        return float(text) if text is not None else None
    except (TypeError, ValueError):
        return None
