"""Where one image holds no data: the border that a warp leaves, and single dead pixels, which are filled."""

import cv2
import numpy as np

from adasffuse.images.masks import dilate

_SMALLEST_AREA = 0.005  # of the image: a border without data
_NEARLY_ZERO, _DARK = 0.02, 0.1  # of the image's brightest values: what surrounds a scene that was clipped at zero
_JPEG_NOISE = 3  # of 255, in a black border
_LEFT = np.uint8([[1, 1, 0, 0, 0]])  # the two pixels on one side
_SIDES = (_LEFT, _LEFT[:, ::-1].copy(), _LEFT.T.copy(), _LEFT.T[::-1].copy())


def thermal_border_mask(values: np.ndarray) -> np.ndarray:
    """Where a thermal image holds no data: exact 0 in a large area joined to the border, as a warp leaves it.

    Such an area has at least 0.5 % of the image's pixels, lies around a convex rest (at least half of it outside the
    convex hull of what is not 0), and ends abruptly.  A cold sky that the camera clipped at zero is data: mostly it
    lies between other things, and it fades into its surroundings: 3 to 4 px beyond the area the median is at most 2 %
    of the image's 99th percentile, or at most 10 % and still rising (at most three quarters of the median 7 to 8 px
    beyond).  An image that is 0 everywhere has no border; see `adasffuse.images.no_data.blend_empty` for it.

    JPEG leaves values of 1 to 3 in a black border.  In images of 8 bits these count as 0 where at least half of the
    9 x 9 pixels around are 0.

    Args:
        values: (H, W), any real or boolean type, as stored; of colour images the largest channel.
    Returns:
        (H, W) bool, True where data is missing.
    """
    zero = values == 0
    missing = _border(values, zero)
    if values.dtype == np.uint8 and zero.any():
        noise = (values <= _JPEG_NOISE) & (cv2.blur(zero.astype(np.float32), (9, 9)) >= 0.5)
        missing |= _border(values, zero | noise)
    return missing


def _border(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """As `thermal_border_mask`, of pixels that count as 0."""
    missing = np.zeros(zero.shape, bool)
    if not _SMALLEST_AREA * zero.size <= np.count_nonzero(zero) < zero.size:
        return missing
    _, labels, stats, _ = cv2.connectedComponentsWithStats(zero.astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    areas = stats[:, cv2.CC_STAT_AREA]
    large = [label for label in np.unique(border) if label > 0 and areas[label] >= _SMALLEST_AREA * zero.size]
    if not large:
        return missing
    finite = ~zero & np.isfinite(values)
    bright = np.percentile(np.abs(values[finite].astype(np.float64)), 99) if finite.any() else 0.0
    around = ~_convex_hull(~np.isin(labels, large))
    for label in large:
        area = labels == label
        if around[area].mean() < 0.5:
            continue
        near, far = (_median(values, finite & dilate(area, r) & ~dilate(area, r - 2)) for r in (4, 8))
        fades = near <= _NEARLY_ZERO * bright or (near <= _DARK * bright and near <= 0.75 * far)
        if not fades:
            missing |= area
    return missing


def fill_holes(pixels: np.ndarray, valid: np.ndarray, dead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give dead pixels and lines the values of their neighbours.

    Such pixels neither belong to a square of 3x3 missing ones nor touch one, and have data within two pixels on both
    sides, left and right or above and below, and in most of the 9x9 pixels around.  So what a warp leaves along a
    border, with dark rims, stays missing.  They take the mean of what lies within two pixels, weighted by a Gaussian.

    Args:
        pixels: (H, W) or (H, W, 3) float32.
        valid: (H, W) bool, False where data is missing.
        dead: (H, W) bool, which missing pixels may be filled.
    Returns:
        The pixels, and where they are data then; both as they were given where none is filled.
    """
    if not dead.any():  # a border of exact 0 is none
        return pixels, valid
    known = valid.astype(np.uint8)
    wide = cv2.dilate(cv2.erode(1 - known, np.ones((3, 3), np.uint8)), np.ones((5, 5), np.uint8))
    left, right, above, below = (cv2.dilate(known, side) for side in _SIDES)
    most = cv2.blur(known.astype(np.float32), (9, 9)) >= 0.5
    thin = dead & ~valid & most & (((left & right) | (above & below)) & (1 - wide) > 0)
    if not thin.any():
        return pixels, valid
    near = {"ksize": (5, 5), "sigmaX": 1.0, "borderType": cv2.BORDER_CONSTANT}
    share = cv2.GaussianBlur(known.astype(np.float32), **near)
    filled = np.where(valid if pixels.ndim == 2 else valid[..., None], pixels, np.float32(0))
    sums = cv2.GaussianBlur(filled, **near)
    filled[thin] = sums[thin] / (share[thin] if pixels.ndim == 2 else share[thin][:, None])
    return filled, valid | thin


def _convex_hull(inside: np.ndarray) -> np.ndarray:
    """(H, W) bool: convex hull of the largest connected part."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    part = labels == largest
    rows = np.flatnonzero(part.any(axis=1))
    first, last = part[rows].argmax(axis=1), part.shape[1] - 1 - part[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows], axis=1)])
    hull = np.zeros(inside.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points.astype(np.int32)), 1)
    return hull.astype(bool)


def _median(values: np.ndarray, where: np.ndarray) -> float:
    """Median of the values' sizes; infinite where there are none."""
    return float(np.median(np.abs(values[where].astype(np.float64)))) if where.any() else np.inf
