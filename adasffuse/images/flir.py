"""FLIR's radiometric JPEG: temperatures from the sensor's counts, and the photograph that some cameras store beside.

Counts become temperatures T, in kelvin, by the camera's Planck constants R1, R2, B, F and O:

    T = B / ln(R1 / (R2 (S + O)) + F)

S are the counts less what the surroundings reflect and the air emits, over the object's emissivity and the air's
transmission (Minkina and Dudzik, Infrared Thermography: Errors and Uncertainties, Wiley 2009).  The package `flyr` does
this with what the file says of emissivity, distance, humidity and temperatures, and gives degrees C.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from adasffuse.images.color import as_rgb
from adasffuse.images.extras import import_optional
from adasffuse.images.formats import RADIOMETRIC, SEARCHED, regular_file
from adasffuse.images.image import ImageError
from adasffuse.images.stored import DAMAGE, Stored

_TAILS = 0.1, 99.9  # percentiles of the temperatures of one file that become black and white
_PHOTOGRAPH = 14  # number of the record that holds the embedded photograph (ExifTool, FLIR EmbeddedImage)
_HEADER = 32  # bytes of that record before the file of the photograph
_RATIOS = 0.25, 8  # `Placement.real_to_ir` that a camera may have


@dataclass(frozen=True)
class Placement:
    """How the camera lays its thermal image on its photograph, as it was set when the file was stored.

    The names are ExifTool's (FLIR tags): the thermal image is as wide as 1 / Real2IR of the photograph, its middle lies
    OffsetX and OffsetY to the right of and below the photograph's, and its pixels are square.
    """

    real_to_ir: float  # width of the photograph over that of the thermal image, in the scene
    offset_x: float  # pixels of the photograph
    offset_y: float


@dataclass(frozen=True)
class Shot:
    """What one file holds."""

    celsius: np.ndarray  # (H, W) float32
    photograph: np.ndarray | None  # (H, W, 3) uint8, sRGB; None where the file has none that can be read
    placement: Placement | None  # None where the file does not say, or nothing plausible


def read_shot(path: str | Path) -> Shot:
    """All of a radiometric JPEG.

    Raises:
        ImageError: the package is missing, or the file holds no raw thermal data.
    """
    thermogram, celsius = _unpacked(path)
    return Shot(celsius, _photograph(path, thermogram), _placement(thermogram))


def read_temperatures(path: str | Path) -> np.ndarray:
    """Degrees C, (H, W) float32; errors as `read_shot`."""
    return _unpacked(path)[1]


def thermal_image(path: str | Path) -> Stored:
    """The temperatures as stored values; without another range their lowest and highest become black and white."""
    return as_stored(read_temperatures(path))


def as_stored(celsius: np.ndarray) -> Stored:
    """Degrees C as stored values, as `thermal_image`."""
    low, high = (float(value) for value in np.percentile(celsius[np.isfinite(celsius)], _TAILS))
    high = max(high, low + 0.1)
    notice = f"temperatures of {low:.1f} to {high:.1f} degrees C become black to white"
    return Stored(celsius, "gray", (), (low, high), fixed=True, span_notice=notice)


def _unpacked(path: str | Path) -> tuple[Any, np.ndarray]:
    """What flyr makes of a file, and its temperatures: degrees C, (H, W) float32, some of them finite."""
    flyr = import_optional("flyr", path)
    try:
        with regular_file(Path(path)) as file:
            if RADIOMETRIC not in file.read(SEARCHED):
                raise ValueError("no segment of FLIR")
            file.seek(0)
            _check_directory(flyr.records.extract_flir_app1(file).getvalue())
        thermogram = flyr.unpack(str(path))
        with np.errstate(all="ignore"):
            celsius = np.asarray(thermogram.celsius, np.float32)
        if not np.isfinite(celsius).any():
            raise ValueError("no count gives a temperature by the constants that it states")
    except ImageError:
        raise
    except DAMAGE as error:
        raise ImageError(
            f"{path}: no raw thermal data that could be read ({error}); expected a radiometric JPEG of a FLIR camera, "
            "as it comes from the camera; of other makers', export temperatures as TIFF with their software"
        ) from error
    return thermogram, celsius


def _check_directory(data: bytes) -> None:
    """Refuse a directory of more records than the data can hold: each is 32 bytes, and flyr would read them all."""
    start, count = int.from_bytes(data[24:28], "big"), int.from_bytes(data[28:32], "big")
    if start + 32 * count > len(data):
        raise ValueError(f"a directory of {count} records in {len(data)} bytes")


def _photograph(path: str | Path, thermogram: Any) -> np.ndarray | None:
    """The embedded photograph, (H, W, 3) uint8 sRGB; None where there is none that can be read.

    As PNG its channels are Y, Cb and Cr (ExifTool, FLIR EmbeddedImageType).
    """
    values = thermogram.optical
    if values is None or values.dtype != np.uint8 or values.size == 0:
        return None
    if values.ndim == 2:
        return as_rgb(values)
    values = np.ascontiguousarray(values[..., :3])
    if values.shape[2] < 3:
        return None
    if _embedded(path).startswith(b"\x89PNG"):
        values = np.asarray(pillow.frombytes("YCbCr", values.shape[1::-1], values.tobytes()).convert("RGB"))
    return values


def _embedded(path: str | Path) -> bytes:
    """The first four bytes of the embedded photograph's file, which tell its format."""
    records = import_optional("flyr", path).records
    with open(path, "rb") as file:
        stream = io.BytesIO(records.extract_flir_app1(file).getvalue())
    _, _, start, _ = records.parse_flir_records(stream)[_PHOTOGRAPH]
    stream.seek(start + _HEADER)
    return stream.read(4)


def _placement(thermogram: Any) -> Placement | None:
    """Where the thermal image lies on the photograph; None where the file does not say, or nothing plausible."""
    stated = thermogram.pip_info
    if stated is None or not (math.isfinite(stated.real_to_ir) and _RATIOS[0] <= stated.real_to_ir <= _RATIOS[1]):
        return None
    return Placement(stated.real_to_ir, stated.offset_x, stated.offset_y)
