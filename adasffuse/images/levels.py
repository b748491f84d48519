"""Large images as the whole numbers that their files hold: a quarter or half of the memory of float32.

Where `read_image` is asked for levels, the pixels of large images are uint8 or uint16 that span all values of their
bits.  What looks at such an image does so through `expanded` or `luma_of`.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from adasffuse.images.color import as_rgb, luminance
from adasffuse.process import release_freed_memory

LARGE = 1 << 23  # pixels of an image from which on its levels are kept
_STEP = 1 << 20  # pixels that are looked at at a time


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether an image of shape (H, W) or (H, W, 3) has so many pixels that its levels are kept."""
    return shape[0] * shape[1] > LARGE


def release_if_large(shape: tuple[int, ...]) -> None:
    """Give back what a step of work on such an image has freed, before one that asks for blocks of other sizes."""
    if is_large(shape):
        release_freed_memory()


def expanded(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float32 in [0, 1], of uint8 or uint16 levels or of what is float32 already."""
    if pixels.dtype.kind != "u":
        return pixels
    return np.divide(pixels, np.float32(np.iinfo(pixels.dtype).max), dtype=np.float32)


def compacted(pixels: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] as uint8 where that holds them exactly, a quarter of the memory; else as they are."""
    if pixels.dtype.kind == "u":
        return pixels
    levels = np.empty(pixels.shape, np.uint8)
    for rows in row_bands(pixels.shape):
        levels[rows] = np.rint(pixels[rows] * np.float32(255))
        if not np.array_equal(expanded(levels[rows]), pixels[rows]):
            return pixels
    return levels


def luma_of(pixels: np.ndarray) -> np.ndarray:
    """Luminance (H, W) float32 in [0, 1] of levels, or of float32 pixels."""
    if pixels.dtype.kind != "u":
        return luminance(pixels)
    luma = np.empty(pixels.shape[:2], np.float32)
    for rows in row_bands(pixels.shape):
        luma[rows] = luminance(expanded(pixels[rows]))
    return luma


def same_pixels(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two images, levels or float32, are equal."""
    if a.shape != b.shape:
        return False
    return all(np.array_equal(expanded(a[rows]), expanded(b[rows])) for rows in row_bands(a.shape))


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of an image of shape (H, W) or (H, W, 3) in bands of about a million pixels."""
    step = max(1, _STEP // shape[1])
    return (slice(start, start + step) for start in range(0, shape[0], step))


def with_margin(rows: slice, margin: int) -> slice:
    """A band of rows with some more on both sides, as far as the image goes."""
    return slice(max(0, rows.start - margin), rows.stop + margin)


def made_in_bands(shape: tuple[int, ...], margin: int, part: Callable[[slice], np.ndarray]) -> np.ndarray:
    """An image of a height and width, made band by band.

    Args:
        margin: rows on both sides that a band depends on.
        part: gives some rows of the image; wrong ones within `margin` of their ends do not matter.
    """

    def parts() -> Iterator[np.ndarray]:
        for rows in row_bands(shape):
            around = with_margin(rows, margin)
            yield part(around)[rows.start - around.start :][: rows.stop - rows.start]

    return joined_rows(parts(), shape[0])


def joined_rows(parts: Iterable[np.ndarray], height: int) -> np.ndarray:
    """One image of some bands of rows, (h, W) or (h, W, 3), from the top down; RGB where one of them is."""
    whole, row = None, 0
    for part in parts:
        if whole is None:
            whole = np.empty((height, *part.shape[1:]), part.dtype)
        if part.ndim > whole.ndim:
            whole = as_rgb(whole)
        whole[row : row + len(part)] = part if part.ndim == whole.ndim else part[..., None]
        row += len(part)
    return whole
