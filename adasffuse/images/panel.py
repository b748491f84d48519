"""Contact sheets: rows of images with a caption above each, for looking at results side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from adasffuse.images.color import as_rgb

_CAPTION = 26  # pixels of height for a caption
_GAP = 6
_WIDEST = 16  # times the height of the row: an image of a few rows would else fill the memory
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MARGIN = 2  # beside a caption, so that its last letter is whole


def contact_sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]], height: int = 240) -> np.ndarray:
    """One RGB image, (H, W, 3) uint8, with every image scaled to `height` below its caption.

    An image that would be wider than 16 times `height` is scaled less, and has white below it.

    Args:
        rows: rows of (caption, image): ASCII, and uint8, (H, W) gray or (H, W, 3) RGB.  Rows may differ in length.
        height: of each image in the sheet, pixels.
    """
    strips = [np.hstack([_captioned(caption, image, height) for caption, image in row]) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, _GAP), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.vstack(padded)


def _captioned(caption: str, image: np.ndarray, height: int) -> np.ndarray:
    """An image of the sheet with its caption above and a gap to its right, (H, W, 3) uint8."""
    image = as_rgb(image)
    factor = min(height / image.shape[0], max(1.0, _WIDEST * height / image.shape[1]))
    width, scaled_height = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (width, scaled_height), interpolation=method)
    scaled = np.pad(scaled, ((0, height - scaled_height), (0, 0), (0, 0)), constant_values=255)
    strip = np.full((_CAPTION, width, 3), 255, np.uint8)
    scale = 0.5  # letters have whole sizes, so what fits is found by trying
    while scale > 0.1 and cv2.getTextSize(caption, _FONT, scale, 1)[0][0] > width - 2 * _MARGIN:
        scale *= 0.95
    cv2.putText(strip, caption, (_MARGIN, _CAPTION - 8), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([strip, scaled]), ((0, 0), (0, _GAP), (0, 0)), constant_values=255)
