"""Writing images at their depth."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from adasffuse.files import write_bytes
from adasffuse.images.image import ImageError


def quantise(pixels: np.ndarray, depth: str) -> np.ndarray:
    """Pixels in [0, 1] as uint8, uint16 or float32, rounded once."""
    if depth == "float":
        return pixels.astype(np.float32)
    kind = np.dtype(np.uint8 if depth == "8" else np.uint16)
    return np.rint(np.clip(pixels, 0, 1) * np.iinfo(kind).max).astype(kind)


def write_image(path: str | Path, pixels: np.ndarray, depth: str = "8") -> None:
    """Write pixels in [0, 1], or quantised ones, by the suffix of `path`, whole or not at all.

    Raises:
        ImageError: the folder or file cannot be written.
    """
    path = Path(path)
    values = quantise(pixels, depth) if pixels.dtype.kind == "f" else pixels
    _, data = cv2.imencode(path.suffix, values if values.ndim == 2 else values[..., ::-1])
    try:
        write_bytes(path, data.tobytes())
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}; choose a folder that is writable") from error


def result_depth(option: str, depths: Sequence[str]) -> str:
    """Depth of a result: '8', '16' or 'float'; of 'auto', 8 bits unless all sources are deeper."""
    if option != "auto":
        return option
    if "8" in depths:
        return "8"
    return "float" if "float" in depths else "16"
