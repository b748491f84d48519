"""Writing image files at 8 bits, 16 bits or as floating-point numbers; a file is whole or not there at all."""

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import tifffile

from adasffuse.arguments import checked
from adasffuse.files import write_bytes
from adasffuse.images.image import ImageError
from adasffuse.images.metadata import Metadata, with_png_metadata
from adasffuse.images.tiff import GDAL_NODATA, LARGEST_VALUE, SMALLEST_VALUE
from adasffuse.messages import not_written

DEPTHS = ("8", "16", "float")  # from shallow to deep
_DTYPES = {"8": np.uint8, "16": np.uint16, "float": np.float32}


@checked
def quantise(pixels: np.ndarray, depth: str) -> np.ndarray:
    """Pixels in [0, 1] (beyond: clipped) as they are stored: uint8 (0..255), uint16 (0..65535) or float32 (0..1).

    This is the one rounding on the way from a network to a file: to the nearest level.

    Raises:
        ValueError: unknown depth, no floating-point pixels, or NaN.
    """
    _check_depth(depth)
    pixels = np.asarray(pixels)
    if pixels.dtype.kind != "f" or np.isnan(pixels).any():
        raise ValueError(f"quantise needs floating-point pixels without NaN, got {pixels.dtype}")
    clipped = pixels.clip(0, 1)
    dtype = _DTYPES[depth]
    if depth == "float":
        return clipped.astype(dtype)
    return np.rint(clipped * np.iinfo(dtype).max).astype(dtype)


def result_depth(option: str, depths: Iterable[str]) -> str:
    """Depth of a result: '8', '16' or 'float' as the option says; 'auto': that of the shallowest source.

    Args:
        option: 'auto', '8', '16' or 'float'.
        depths: `Image.depth` of the sources.
    Raises:
        ValueError: unknown option.
    """
    if option in DEPTHS:
        return option
    if option != "auto":
        raise ValueError(f"depth must be 'auto', '8', '16' or 'float', got {option!r}")
    return min(depths, key=DEPTHS.index)


def suffix_of(depth: str) -> str:
    """Suffix of files of a depth: '.png', or '.tif' for floating-point numbers."""
    return ".tif" if depth == "float" else ".png"


def check_suffix(path: Path, depth: str) -> None:
    """Raise ValueError where a file of this name cannot hold pixels of depth '8', '16' or 'float'."""
    suffixes = (".tif", ".tiff") if depth == "float" else (".png", ".tif", ".tiff")
    if path.suffix.lower() not in suffixes:
        wanted = ".tif" if depth == "float" else ".png or .tif"
        other = "; choose that, or a depth of 8 or 16 bits" if depth == "float" else ""
        raise ValueError(f"{path}: {np.dtype(_DTYPES[depth])} pixels are written to files ending in {wanted}{other}")


@checked
def write_image(path: str | Path, pixels: np.ndarray, depth: str = "8", metadata: Metadata | None = None) -> None:
    """Write gray or sRGB pixels as PNG or TIFF, making the folder where needed.

    The suffix decides: .png (depth '8' and '16'), .tif or .tiff (any depth, deflate).  Floating-point files state in
    their tags that 0 is black and 1 is white, so that `read_image` needs no range for them.

    Args:
        path: the file; one that is there is replaced, in one step.
        pixels: (H, W) or (H, W, 3), floating-point in [0, 1], or uint8 or uint16 as `quantise` returns them.
        depth: '8', '16' or 'float', of floating-point pixels; other arrays keep their own.
        metadata: what is written beside the pixels; of EXIF data a TIFF takes description, camera, date and author.
    Raises:
        ImageError: the folder or file cannot be written; an older file of that name stays as it was.
        ValueError: another shape or type of pixels, or a suffix that cannot hold the depth.
    """
    path = Path(path)
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(f"write_image needs (H, W) or (H, W, 3) pixels, got {pixels.dtype} {pixels.shape}")
    _check_depth(depth)
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = quantise(pixels, depth)
    check_suffix(path, {np.uint8: "8", np.uint16: "16", np.float32: "float"}[pixels.dtype.type])
    if path.suffix.lower() == ".png":
        content = _png(pixels)
        if metadata is not None:
            content = with_png_metadata(content, metadata, colour=pixels.ndim == 3)
    else:
        content = _tiff(pixels, metadata)
    try:
        write_bytes(path, content)
    except OSError as error:
        raise ImageError(not_written(path, error)) from error


def _check_depth(depth: str) -> None:
    if depth not in DEPTHS:
        raise ValueError(f"depth must be '8', '16' or 'float', got {depth!r}")


def _png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file of uint8 or uint16 pixels."""
    written, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    if not written:
        raise ImageError(f"PNG files cannot hold {pixels.shape[1]} x {pixels.shape[0]} pixels; write a .tif file")
    return data.tobytes()


def _tiff(pixels: np.ndarray, metadata: Metadata | None) -> bytes:
    """The content of a TIFF file; one of floating-point numbers states that 0 is black and 1 white."""
    channels = 1 if pixels.ndim == 2 else 3
    tags, profile, extrasamples = [], None, None
    if metadata is not None:
        tags = [(tag, "s", 0, text, True) for tag, text in metadata.texts]
        tags += [(tag, kind, 0 if kind == "s" else len(value), value, True) for tag, kind, value in metadata.map_tags]
        profile = metadata.profile if channels == 3 else None
        valid = metadata.valid if metadata.map_tags else None
        if valid is not None and pixels.dtype == np.float32:
            pixels = np.where(valid if channels == 1 else valid[..., None], pixels, np.float32(np.nan))
            tags.append((GDAL_NODATA, "s", 0, "nan", True))  # GDAL knows no alpha of floating-point files
        elif valid is not None:
            pixels = np.dstack([pixels, valid.astype(pixels.dtype) * np.iinfo(pixels.dtype).max])
            extrasamples = ["unassalpha"]
    if pixels.dtype == np.float32:
        span = ((SMALLEST_VALUE, 0.0), (LARGEST_VALUE, 1.0))
        tags += [(tag, "f", channels, (value,) * channels, True) for tag, value in span]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        photometric="minisblack" if channels == 1 else "rgb",
        compression="zlib",
        metadata=None,
        extratags=tags,
        extrasamples=extrasamples,
        iccprofile=profile,
    )
    return file.getvalue()
