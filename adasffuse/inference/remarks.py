"""What a user should know of sources that add nothing to a result, or little."""

from collections.abc import Mapping, Sequence

import numpy as np

from adasffuse.images.color import in_one_cold_hue
from adasffuse.images.levels import luma_of
from adasffuse.images.no_data import Gap

_NO_CONTENT = "has no content, a flat frame; it adds nothing to the result"
_SCATTERED = (
    "holds data mostly beside pixels without any, where the others are shown, so little of it is seen; fill its "
    "holes from what is beside them first"
)
_INVERSE = (
    "has a white background, that of the other source is black: inverse gray, as PET is often printed, in which what "
    "is high is dark and gets lost; --range_a inverted turns it, of colours export those with a black background"
)
_ONE_HUE = (
    "is in shades of one dark colour, in which spots are lost beside bright tissue; adasffuse fuse with "
    "--palette hot (from Python: palette='hot') shows it in others"
)
_BORDER_LEVELS = (0.1, 0.9)  # of backgrounds that are black and white
_LITTLE = 0.5  # share of what a source holds, below which little of it is seen


def remarks_on_content(
    valids: Sequence[np.ndarray | None], contents: Sequence[float], gaps: Mapping[int, Gap | None]
) -> list[tuple[int, str]]:
    """Numbers of sources that add nothing to the result, or little, and what a user should know of them.

    Args:
        valids: per source (H, W) bool, where it holds data; None: everywhere.
        contents: as of `measure_content`.
        gaps: as of `complete`, by the numbers of the sources that are fused.
    """
    holding = [valid is None or valid.any() for valid in valids]  # what holds no data at all has a notice already
    remarks = [(k, _NO_CONTENT) for k, amount in enumerate(contents) if amount == 0 and holding[k]]
    for k, gap in gaps.items():
        if gap is not None and contents[k] > 0 and np.mean(gap.share, where=valids[k]) < _LITTLE:
            remarks.append((k, _SCATTERED))
    return remarks


def remarks_on_scan(stored: np.ndarray, scan: np.ndarray, mri: np.ndarray) -> list[str]:
    """What a user should know of a CT, PET or SPECT image in which what matters may get lost.

    Args:
        stored: the scan as it was read, (H, W) or (H, W, 3), levels or float32 in [0, 1].
        scan, mri: both sources, completed from each other.
    """
    remarks = [_INVERSE] if _is_inverse(scan, mri) else []
    return remarks + ([_ONE_HUE] if in_one_cold_hue(stored) else [])


def _is_inverse(scan: np.ndarray, mri: np.ndarray) -> bool:
    """Whether a scan has a white background where that of the MRI is black, judged along the border."""
    black, white = _BORDER_LEVELS
    own, other = (float(np.median(_border(luma_of(pixels)))) for pixels in (scan, mri))
    return own > white and other < black


def _border(luma: np.ndarray) -> np.ndarray:
    """The outermost pixels of (H, W)."""
    return np.concatenate([luma[0], luma[-1], luma[:, 0], luma[:, -1]])
