"""Contact sheets: rows of pictures with a caption above each, for looking at results side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

_CAPTION = 26  # pixels of height for a caption
_GAP = 6


def contact_sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]], height: int = 240) -> np.ndarray:
    """One RGB picture, (H, W, 3) uint8, with every picture scaled to `height` below its caption (ASCII).

    Args:
        rows: rows of (caption, picture), picture uint8 (H, W) gray or (H, W, 3) RGB; rows may differ in length.
    """
    strips = [np.hstack([_captioned(caption, picture, height) for caption, picture in row]) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, _GAP), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.vstack(padded)


def _captioned(caption: str, picture: np.ndarray, height: int) -> np.ndarray:
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    method = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (width, height), interpolation=method)
    strip = np.full((_CAPTION, width, 3), 255, np.uint8)
    scale = min(0.5, 0.5 * width / max(1, cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]))
    cv2.putText(strip, caption, (2, _CAPTION - 8), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.vstack([strip, scaled]), ((0, 0), (0, _GAP), (0, 0)), constant_values=255)
