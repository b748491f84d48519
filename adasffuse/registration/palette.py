"""Values behind false colours: functional scans are stored as colours of a palette whose luminance may fall again."""

import numpy as np

from adasffuse.images.color import luminance

_LEVELS = 32  # of each channel
_GREY = 2 / 255  # difference of channels below which an image has no colour
_MOST_COLORS = 1024  # more are no palette


def palette_values(pixels: np.ndarray) -> np.ndarray:
    """Values in the order of the palette: how far each colour lies from the darkest one on the way through the others.

    A path of many short steps is shorter here than one of few long ones (lengths count squared), so it follows the
    palette: black, blue, yellow, red rise, where the luminance of red is below that of yellow.

    Args:
        pixels: (H, W) or (H, W, 3) float32 in [0, 1].
    Returns:
        (H, W) float32 in [0, 1]; the luminance of images without colour or with too many colours for a palette.
    """
    from scipy.sparse.csgraph import dijkstra  # here, since it takes as long to load as all the rest of this room

    if pixels.ndim == 2 or float(np.ptp(pixels, axis=2).max()) < _GREY:
        return luminance(pixels)
    levels = np.round(pixels * (_LEVELS - 1)).astype(np.int64)
    codes = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    used, place = np.unique(codes, return_inverse=True)
    if len(used) > _MOST_COLORS:
        return luminance(pixels)
    colors = np.stack(np.unravel_index(used, (_LEVELS,) * 3), axis=1).astype(np.float64)
    steps = np.square(colors[:, None] - colors).sum(axis=2)
    far = np.sqrt(dijkstra(steps, indices=int(colors.sum(axis=1).argmin())))
    values = far / max(float(far.max()), 1e-12)
    return values[place].reshape(pixels.shape[:2]).astype(np.float32)
