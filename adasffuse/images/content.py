"""How much a source shows: flat frames have no content, and are left out of a fusion or blended away."""

from collections.abc import Sequence

import cv2
import numpy as np

from adasffuse.images.levels import luma_of

_CUT_OFF, _FULL = np.float32(2.5 / 255), np.float32(5 / 255)  # range of block means: no content, and content
_BLOCK, _STEP = 8, 4  # pixels
_LARGER = (1, 2, 4, 8)  # times a block's side, where single pixels are missing everywhere


def measure_content(source: np.ndarray, valid: np.ndarray | None = None) -> float:
    """How much content a source has as a whole, 0 to 1: 0 for a flat frame, also a noisy one.

    The range of the means of 8 x 8 blocks (every 4 pixels; smaller blocks in images below 16 pixels): 0 up to 2.5 of
    255 levels, 1 from 5 levels on, smooth in between.  Noise of 2 levels does not move the means; a hot target of
    5 x 5 pixels does.

    Blocks that touch pixels without data do not count.  Where these are scattered, so that less than a quarter of the
    blocks that hold data are whole, the means are those of what blocks hold: at least half as many pixels as a whole
    block has, in larger blocks where needed.

    Args:
        source: (H, W) or (H, W, 3) float32 in [0, 1], or levels.
        valid: (H, W) bool, False where there is no data.
    """
    block = [min(_BLOCK, max(1, n // 2)) for n in source.shape[:2]]
    means, shares = _block_means(source, valid, block, _STEP)
    used, least = shares > 0.999, block[0] * block[1] / 2
    for factor in _LARGER:
        if 4 * np.count_nonzero(used) >= np.count_nonzero(shares):
            break
        larger = [min(factor * n, max(1, side // 2)) for n, side in zip(block, source.shape)]
        means, shares = _block_means(source, valid, larger, factor * _STEP)
        used = shares * larger[0] * larger[1] >= least
    means = means[used]
    if means.size == 0:
        return 0.0
    return float(smooth_step((means.max() - means.min() - _CUT_OFF) / (_FULL - _CUT_OFF)))


def _block_means(
    source: np.ndarray, valid: np.ndarray | None, block: Sequence[int], step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means of what blocks hold, `step` pixels apart, and which share of each block holds data."""
    height, width = source.shape[:2]
    rows, columns = ([*range(0, n - b, step), n - b] for n, b in zip((height, width), block))

    def blurred(part: np.ndarray, some: Sequence[int]) -> np.ndarray:
        means = cv2.blur(part, block[::-1], anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
        return means[np.ix_([row - some[0] for row in some], columns)]

    means, shares = [], []
    for k in range(0, len(rows), 128):
        some = rows[k : k + 128]
        band = slice(some[0], some[-1] + block[0])
        luma, known = luma_of(source[band]), None if valid is None else valid[band]
        if known is None or known.all():
            means.append(blurred(luma, some))
            shares.append(np.ones_like(means[-1]))
        else:
            shares.append(blurred(known.astype(np.float32), some))
            sums = blurred(np.where(known, luma, np.float32(0)), some)
            means.append(np.divide(sums, shares[-1], out=np.zeros_like(sums), where=shares[-1] > 0))
    return np.concatenate(means), np.concatenate(shares)


def choose_sources(contents: Sequence[float]) -> list[int]:
    """Numbers of the sources that are fused: of more than two those with content, and two at least.

    The others add nothing: any stand-in, such as a mean, would count as one more source.  Where none has content, all.

    Args:
        contents: `measure_content` of each source.
    """
    showing = [number for number, amount in enumerate(contents) if amount > 0]
    flat = [number for number, amount in enumerate(contents) if not amount > 0]
    if len(contents) <= 2 or not showing:
        return list(range(len(contents)))
    return sorted((showing + flat)[: max(2, len(showing))])


def smooth_step(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, 3 t^2 - 2 t^3 between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
