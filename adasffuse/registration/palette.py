"""Values of false-colour scans, which are stored in a palette whose luminance need not rise with the value."""

import numpy as np

from adasffuse.images.color import luminance
from adasffuse.images.levels import expanded

_LEVELS = 32  # of each channel
_GRAY = 2 / 255  # difference of channels below which an image has no colour
_MOST_COLORS = 1024  # more are no palette


def palette_values(pixels: np.ndarray) -> np.ndarray:
    """Values in the order of the palette: the length of the path from the darkest colour through the other colours.

    Steps count by their squared length, so the shortest path has many short steps and follows the palette.  Thus black,
    blue, yellow, red rise, although the luminance of red is below that of yellow.

    Args:
        pixels: (H, W) or (H, W, 3) float32 in [0, 1], or levels.
    Returns:
        (H, W) float32 in [0, 1]; the luminance of images without colour or with too many colours for a palette.
    """
    from scipy.sparse.csgraph import dijkstra  # here, since it takes as long to import as the rest of the registration

    pixels = expanded(pixels)
    if pixels.ndim == 2 or float(np.ptp(pixels, axis=2).max()) < _GRAY:
        return luminance(pixels)
    levels = np.round(pixels * (_LEVELS - 1)).astype(np.int64)
    codes = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    used, place = np.unique(codes, return_inverse=True)
    if len(used) > _MOST_COLORS:
        return luminance(pixels)
    colors = np.stack(np.unravel_index(used, (_LEVELS,) * 3), axis=1).astype(np.float64)
    steps = np.square(colors[:, None] - colors).sum(axis=2)
    length = np.sqrt(dijkstra(steps, indices=int(colors.sum(axis=1).argmin())))
    values = length / max(float(length.max()), 1e-12)
    return values[place].reshape(pixels.shape[:2]).astype(np.float32)
