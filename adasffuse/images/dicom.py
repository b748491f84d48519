"""DICOM files: rescaled values, with the window that the file asks for."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adasffuse.images.extras import needed
from adasffuse.images.formats import Stored
from adasffuse.images.image import ImageError


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Turn what pydicom raises on damaged files into an ImageError that names the file or folder."""
    pydicom = needed("pydicom", path)
    broken = (pydicom.errors.BytesLengthException, ValueError, TypeError, LookupError, AttributeError, OverflowError)
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for its pixels") from None
    except (*broken, ArithmeticError, RuntimeError, OSError, EOFError, struct.error) as error:
        raise ImageError(f"{path}: damaged or truncated ({error}); export it again") from error


def open_dicom(path: str | Path) -> tuple[int, int, str, Any]:
    """Height, width, depth ('8' or '16') and the data set of a DICOM file, its pixels not decoded.

    Raises:
        ImageError: the package is missing, the file is damaged, or it holds no image.
    """
    pydicom = needed("pydicom", path)
    with damage_named(path):
        try:
            data_set = pydicom.dcmread(str(path))
        except pydicom.errors.InvalidDicomError as error:
            raise ImageError(f"{path}: damaged or truncated ({error}); export it again") from error
        if "Rows" not in data_set or "Columns" not in data_set:
            raise ImageError(f"{path}: a DICOM file without an image; take it out")
        height, width = int(data_set.Rows), int(data_set.Columns)
        color = int(data_set.get("SamplesPerPixel", 1)) == 3
    return height, width, "8" if color else "16", data_set


def decode_dicom(path: str | Path, data_set: Any) -> Stored:
    """The values of the first frame: rescaled by slope and intercept; the file's window says what is black and white.

    Raises:
        ImageError: the pixels cannot be decoded.
    """
    with damage_named(path):
        return _decode(path, data_set)


def position_of(data_set: Any) -> float | None:
    """Where a slice lies along its series, mm; None where the file does not say."""
    place, turn = data_set.get("ImagePositionPatient"), data_set.get("ImageOrientationPatient")
    if place is not None and turn is not None:
        normal = np.cross([float(v) for v in turn[:3]], [float(v) for v in turn[3:]])
        return float(np.dot(normal, [float(v) for v in place]))
    location = data_set.get("SliceLocation")
    return None if location is None else float(location)


def _decode(path: str | Path, data_set: Any) -> Stored:
    pixels = needed("pydicom", path).pixels
    kind = str(data_set.get("PhotometricInterpretation", "MONOCHROME2"))
    try:
        values = np.asarray(data_set.pixel_array)
        frames = int(data_set.get("NumberOfFrames", 1) or 1)
        if frames > 1:
            values = values[0]
        if kind == "PALETTE COLOR":
            values, kind = pixels.apply_color_lut(values, data_set), "RGB"
        elif kind.startswith("MONOCHROME"):
            values = pixels.apply_modality_lut(values, data_set)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError, KeyError) as error:
        raise ImageError(f"{path}: its pixels cannot be decoded ({error}); export it uncompressed") from error
    notices = (f"holds {frames} frames, only the first is read",) if frames > 1 else ()
    if values.ndim == 3:
        if values.dtype != np.uint8:
            values = (values >> 8).astype(np.uint8)
        return Stored(values, "rgb", notices, (0, 255))
    low, high, asked = _window(data_set, values)
    chosen = "" if asked else f"asks for no window; its values {low:g} to {high:g} become black to white"
    padding = data_set.get("PixelPaddingValue")
    missing = None if padding is None else float(padding) * _slope(data_set) + _intercept(data_set)
    return Stored(
        values.astype(np.float32),
        "gray",
        notices,
        (low, high),
        kind == "MONOCHROME1",
        missing,
        fixed=True,
        span_notice=chosen,
    )


def _window(data_set: Any, values: np.ndarray) -> tuple[float, float, bool]:
    """Values of black and white, and whether the file asks for them; of several windows the first."""
    center, width = data_set.get("WindowCenter"), data_set.get("WindowWidth")
    if center is None or width is None:
        low, high = float(values.min()), float(values.max())
        return low, max(high, low + 1), False
    center, width = (float(v if isinstance(v, int | float | str) else v[0]) for v in (center, width))
    low = center - 0.5 - (width - 1) / 2  # DICOM PS3.3, C.11.2.1.2.1: the linear function
    return low, low + max(width - 1, 1), True


def _slope(data_set: Any) -> float:
    return float(data_set.get("RescaleSlope", 1) or 1)


def _intercept(data_set: Any) -> float:
    return float(data_set.get("RescaleIntercept", 0) or 0)
