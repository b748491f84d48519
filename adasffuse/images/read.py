"""Reading and writing image files.  Pixels are float32 in [0, 1], (H, W) gray or (H, W, 3) RGB.

Pillow decodes the common 8-bit files, once, and refuses truncated ones.  It would reduce 16-bit colour to 8 bits
without saying so: OpenCV decodes deeper files.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from adasffuse.images.image import Image, ImageError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")  # the only decoders that Pillow may try
_DEEP_MODE = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # stored depth, alpha dropped, turned as EXIF says
_EXPECTED = "expected a PNG, JPEG, TIFF, BMP or WebP image"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _PLANAR_CONFIGURATION = 258, 262, 274, 284  # TIFF and EXIF tags
# What the decoders raise on damaged files, beside Pillow's UnidentifiedImageError (an OSError).
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    PilImage.DecompressionBombError,
    cv2.error,
)


def read_image(
    path: str | Path,
    value_range: tuple[float, float] | None = None,
    no_data: float | None = None,
    thermal: bool = False,
) -> Image:
    """Decode one PNG, JPEG, TIFF, BMP or WebP file, turned as its EXIF orientation asks.

    A colour file whose channels are all equal comes back gray.  Alpha is dropped, and of several pages or frames only
    the first is read, each with a notice.

    Args:
        path: the file; its content decides on the format, not its suffix.
        value_range: (black, white) in the file's units for files of more than 8 bits per channel; values beyond are
            clipped.  8-bit files always span 0..255.  Without it 16-bit files span 0..65535, with a notice when less
            than a quarter of that is used.
    Raises:
        ImageError: the file is missing, empty, truncated or no such image; it holds floating-point, signed or 32-bit
            values and no `value_range` says what is black and white; a value is NaN or infinite; or `value_range` is
            not two increasing numbers.
    """
    path = Path(path)
    values, notices = _decode(path)
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.dtype == np.uint8:
        return Image(np.divide(values, np.float32(255), dtype=np.float32), notices=notices)
    if values.dtype == np.uint16 and value_range is None:
        low, high = int(values.min()), int(values.max())
        if high - low < 65535 / 4:
            notices += (f"{path}: uses only {low}..{high} of 0..65535; a value range would widen it",)
        value_range = (0, 65535)
    if value_range is None:
        raise ImageError(
            f"{path}: {values.dtype} values have no fixed black and white; give a value range in the file's units"
        )
    depth = "16" if values.dtype == np.uint16 else "float"
    return Image(_window(values, value_range, path), depth, value_range, notices=notices)


def folder_range(paths: Iterable[str | Path]) -> tuple[float, float] | None:
    """Lowest and highest value over all files of more than 8 bits, None where there is none: a `value_range`.

    One window for a whole folder keeps brightness comparable between its images, and nothing is clipped.  Files that
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
    """(height, width) in pixels of what `read_image` returns, from the header unless it has to be turned by a quarter.

    Raises:
        ImageError: the file is missing, empty or no image (damage behind the header shows in `read_image`).
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        with PilImage.open(io.BytesIO(data), formats=_FORMATS) as image:
            no_exif = image.format == "PNG" and b"eXIf" not in data  # asking Pillow would decode the image
            if no_exif or image.getexif().get(_ORIENTATION, 1) < 5:
                return image.height, image.width
    except _DAMAGE:
        pass  # decoding says what is wrong
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
        with PilImage.open(io.BytesIO(data), formats=_FORMATS) as image:
            notices = _notices(image, path)
            if not _is_deep(image, data):
                return _decode_8bit(image), notices
            image.load()  # OpenCV would decode a truncated PNG silently, Pillow refuses it
            plain = image.format != "TIFF" or _plain_layout(image)
            values = cv2.imdecode(np.frombuffer(data, np.uint8), _DEEP_MODE) if plain else None
    except UnidentifiedImageError:
        kind = "a truncated or unusual TIFF" if data[:2] in (b"II", b"MM") else "not a readable image"
        raise ImageError(f"{path}: {kind}; {_EXPECTED}, convert it or take it out") from None
    except _DAMAGE as error:
        raise ImageError(f"{path}: damaged or truncated ({error}); {_EXPECTED}, copy or export it again") from error
    if values is None:
        raise ImageError(f"{path}: an unusual layout of more than 8 bits per channel; export it as 16-bit PNG")
    return values if values.ndim == 2 else values[..., ::-1], notices


def _notices(image: PilImage.Image, path: Path) -> tuple[str, ...]:
    notices = []
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        notices.append(f"{path}: alpha channel dropped")
    if image.format != "JPEG" and getattr(image, "n_frames", 1) > 1:  # phones hide previews in JPEG
        notices.append(f"{path}: holds {image.n_frames} pages or frames, only the first is read")
    return tuple(notices)


def _is_deep(image: PilImage.Image, data: bytes) -> bool:
    """Whether the opened file holds more than 8 bits per channel."""
    if image.format == "PNG":
        return data[24] > 8  # bit depth of the IHDR chunk
    return image.format == "TIFF" and max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8


def _plain_layout(image: PilImage.Image) -> bool:
    """Whether a deep TIFF is one that OpenCV decodes rightly: black is 0, and colour channels lie interleaved."""
    planes_apart = image.tag_v2.get(_PLANAR_CONFIGURATION, 1) == 2 and len(image.getbands()) > 1
    return not planes_apart and image.tag_v2.get(_PHOTOMETRIC) != 0


def _decode_8bit(image: PilImage.Image) -> np.ndarray:
    ImageOps.exif_transpose(image, in_place=True)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _window(values: np.ndarray, value_range: tuple[float, float], path: Path) -> np.ndarray:
    """(values - black) / (white - black), clipped to [0, 1], float32."""
    low, high = map(float, value_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageError(f"{path}: a value range is two increasing numbers LOW HIGH, got {low:g} {high:g}")
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: holds NaN or infinite values; replace them before fusing")
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
