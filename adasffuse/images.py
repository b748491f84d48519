"""Reading and writing picture files.  Pixels are float32 in [0, 1], (H, W) gray or (H, W, 3) RGB.

Pillow decodes the common 8-bit files, once, and refuses truncated ones.  It would reduce 16-bit colour to 8 bits
without saying so: OpenCV decodes deeper files.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "TIFF",
    "BMP",
    "WEBP",
)  # what the suffixes stand for; MPO is what some phones call JPEG
_EXPECTED = "expected a PNG, JPEG, TIFF, BMP or WebP picture"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_BITS_PER_SAMPLE = 258
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 turn the picture by a quarter
# What Pillow raises on damaged files, beside its own UnidentifiedImageError (an OSError).
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """A picture file or a folder of pictures that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Picture:
    """A decoded file."""

    pixels: np.ndarray  # float32 in [0, 1], (H, W) gray or (H, W, 3) RGB
    notices: tuple[str, ...] = ()  # what a user should know, e.g. that alpha was dropped; each names the file


def read_image(path: str | Path, value_range: tuple[float, float] | None = None) -> Picture:
    """Decode one PNG, JPEG, TIFF, BMP or WebP file, turned as its EXIF orientation asks.

    A colour file whose channels are all equal comes back gray.  Alpha is dropped, and of several pages or frames only
    the first is read, each with a notice.

    Args:
        path: the file; its content decides on the format, not its suffix.
        value_range: (black, white) in the file's units for files of more than 8 bits per channel; values beyond are
            clipped.  8-bit files always span 0..255.  Without it 16-bit files span 0..65535, with a notice when less
            than a quarter of that is used.
    Raises:
        ImageError: the file is missing, empty, truncated or no such picture; it holds floating-point, signed or 32-bit
            values and no `value_range` says what is black and white; a value is NaN or infinite; or `value_range` is
            not two increasing numbers.
    """
    path = Path(path)
    values, notices = _decode(path)
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.dtype == np.uint8:
        return Picture(values.astype(np.float32) / np.float32(255), notices)
    if values.dtype == np.uint16 and value_range is None:
        low, high = int(values.min()), int(values.max())
        if high - low < 65535 / 4:
            notices += (
                f"{path}: uses only {low}..{high} of 0..65535; --range LOW HIGH or --range folder would widen it",
            )
        value_range = (0, 65535)
    if value_range is None:
        raise ImageError(
            f"{path}: {values.dtype} values have no fixed black and white; give --range LOW HIGH in the file's units"
        )
    return Picture(_window(values, value_range, path), notices)


def folder_range(paths: Iterable[str | Path]) -> tuple[float, float] | None:
    """Lowest and highest value over all files of more than 8 bits, None where there is none: a `value_range`.

    One window for a whole folder keeps brightness comparable between its pictures, and nothing is clipped.  Files that
    cannot be read are passed over; `read_image` reports them.
    """
    extremes = []
    for path in paths:
        try:
            values, _ = _decode(Path(path))
        except ImageError:
            continue
        if values.dtype != np.uint8 and np.isfinite(values).all():
            extremes += [float(values.min()), float(values.max())]
    return (min(extremes), max(extremes)) if extremes else None


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels of what `read_image` would return, from the header alone where Pillow knows the format.

    Raises:
        ImageError: the file is missing, empty or no picture (damage behind the header shows in `read_image`).
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            return (width, height) if image.getexif().get(_ORIENTATION, 1) >= 5 else (height, width)
    except _DAMAGE:
        return _decode(path)[0].shape[:2]


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W) gray or (H, W, 3) RGB pixels as PNG, making the folder where needed.

    The file appears whole or not at all: it is written under a temporary name beside `path`, then renamed.

    Raises:
        ImageError: the folder or file cannot be written; an older file of that name stays as it was.
        ValueError: `pixels` has another shape or type.
    """
    path = Path(path)
    if (
        pixels.dtype != np.uint8
        or pixels.size == 0
        or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3))
    ):
        raise ValueError(f"write_png needs uint8 (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
    _, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}; choose a folder that is writable") from error
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    """Delete a file if it is there; a folder that cannot even be looked into holds none of ours."""
    try:
        path.unlink()
    except OSError:
        return


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; {_EXPECTED}, check the name") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); {_EXPECTED}") from error
    if not data:
        raise ImageError(f"{path}: the file is empty; {_EXPECTED}, copy or export it again")
    return data


def _decode(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """File values as stored, (H, W) or (H, W, 3) RGB, uint8 or deeper, and notices."""
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            notices = _notices(image, path)
            deep = _is_deep(image, data)
            if not deep:
                return _decode_8bit(image), notices
            if image.format == "PNG":
                image.load()  # OpenCV would decode a truncated PNG silently, Pillow refuses it
    except UnidentifiedImageError:
        if not data.startswith(_TIFF_SIGNATURES):  # some deep TIFFs are beyond Pillow, not beyond OpenCV
            raise ImageError(f"{path}: not a readable picture; {_EXPECTED}, convert it or take it out") from None
        notices = ()
    except _DAMAGE as error:
        raise ImageError(f"{path}: damaged or truncated ({error}); {_EXPECTED}, copy or export it again") from error
    return _decode_deep(data, path), notices


def _notices(image: Image.Image, path: Path) -> tuple[str, ...]:
    notices = []
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        notices.append(f"{path}: alpha channel dropped")
    if image.format in ("TIFF", "WEBP", "PNG") and getattr(image, "n_frames", 1) > 1:
        notices.append(f"{path}: holds {image.n_frames} pages or frames, only the first is read")
    return tuple(notices)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether the opened file holds more than 8 bits per channel."""
    if image.format == "PNG":
        return data[24] > 8  # bit depth of the IHDR chunk
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))) > 8
    return False


def _decode_8bit(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    gray = image.mode in ("1", "L", "LA", "La")
    return np.array(image.convert("L" if gray else "RGB"))


def _decode_deep(data: bytes, path: Path) -> np.ndarray:
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None:
        raise ImageError(f"{path}: damaged, truncated or an unusual TIFF; {_EXPECTED}, export it again as 16-bit PNG")
    if values.ndim == 2:
        return values
    return values[..., 0] if values.shape[2] < 3 else values[..., 2::-1]


def _window(values: np.ndarray, value_range: tuple[float, float], path: Path) -> np.ndarray:
    """(values - black) / (white - black), clipped to [0, 1], float32."""
    low, high = map(float, value_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageError(f"{path}: a value range is two increasing numbers LOW HIGH, got {low:g} {high:g}")
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds NaN or infinite values; replace them before fusing")
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
