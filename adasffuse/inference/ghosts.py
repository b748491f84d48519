"""Exposures made as bright as each other, and what moves between them: found, and shown as in one of them.

Two exposures are compared after one has been made as bright as the other, by the monotone curve that gives both the
same histogram (an intensity mapping function, Grossberg and Nayar, IEEE TPAMI 2003, doi:10.1109/TPAMI.2003.1240119).
What still differs has moved.
"""

import itertools
from dataclasses import replace

import cv2
import numpy as np

from adasffuse.images.image import Image
from adasffuse.images.levels import expanded, luma_of, row_bands
from adasffuse.images.masks import dilate

_THUMBNAIL = 256  # pixels of the longer side at which movement is looked for, to tell of it
_COPY = 512  # to remove it
_MOVED = 0.12  # of full white: a difference of luminance that exposure does not explain
_MOVED_CHANNEL = 0.3  # of one channel: strong colours do not follow a curve of their own
_SHARE = 0.005  # of the image that moves, from which on a notice says so
_BLACK, _WHITE = 0.02, 0.98  # luminance that is clipped
_RIM = 5  # pixels of a copy around what moves that are replaced, too
_POINTS = 512  # of a curve
_STEEPEST = 4  # of a curve's bright half
_NEARLY_WHITE = 0.96


def moved(dark: np.ndarray, bright: np.ndarray, still: np.ndarray | None = None, least: float = _MOVED) -> np.ndarray:
    """Where two exposures (H, W) in [0, 1], NaN without data, differ although one is made as bright as the other; bool.

    The change of exposure is the monotone curve that gives both the same histogram, of the pixels where both hold data.
    Equal values become the largest of what they may become, so where `dark` is black `bright` may be darker than that.

    Args:
        still: (H, W) bool, pixels that the curve is made from; None: all.
        least: difference, of full white, from which on something has moved.
    """
    known = np.isfinite(dark) & np.isfinite(bright)
    still = known if still is None else known & still
    if not still.any():
        return np.zeros(known.shape, bool)
    dark, bright = np.where(known, dark, 0), np.where(known, bright, 0)
    order = np.sort(bright[still])
    ranks = np.searchsorted(np.sort(dark[still]), dark.ravel(), side="right").reshape(dark.shape)
    expected = np.where(known, order[np.clip(ranks - 1, 0, order.size - 1)], 0)
    brighter = cv2.blur(bright, (3, 3)) - cv2.blur(expected, (3, 3))
    different = ((brighter > least) | ((brighter < -least) & (dark > _BLACK))) & known
    return cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def unclipped_share(luma: np.ndarray) -> float:
    """Share of the pixels of an exposure (H, W) in [0, 1] that are neither black nor white."""
    return float(((luma > _BLACK) & (luma < _WHITE)).mean())


class Watch:
    """Looks for movement between exposures, on small copies.

    Args:
        registered: the exposures have been registered to each other.
    """

    def __init__(self, registered: bool) -> None:
        self._registered = registered
        self._thumbnails: list[np.ndarray] = []

    def see(self, image: Image) -> None:
        """Take an exposure into account, as it is fused."""
        self._thumbnails.append(_small(_luma_with_gaps(image), _THUMBNAIL))

    def notices(self) -> list[str]:
        """That something moves, if so."""
        share = self._moving_share()
        if share < _SHARE:
            return []
        camera = "" if self._registered else "if the camera moved, --align similarity registers the exposures; "
        return [
            f"about {share:.1%} of the image differs between exposures in a way that exposure does not explain; "
            f"{camera}what moves may show twice (ghosts): --ghosts remove shows it as in one exposure"
        ]

    def _moving_share(self) -> float:
        """Largest share of pixels that differ between an exposure and the next brighter one."""
        ordered = sorted(self._thumbnails, key=lambda luma: float(np.nanmean(luma)))
        shares = [moved(dark, bright).mean() for dark, bright in itertools.pairwise(ordered)]
        return float(max(shares, default=0.0))


class GhostRemover:
    """Gives exposures the content of one of them, the reference, where something moves.

    What the reference shows there, and around it where it is not clipped, is made as bright as the exposure.

    Args:
        reference: registered, as all other exposures.
    """

    def __init__(self, reference: Image) -> None:
        self._reference = reference
        self._copy = _small_copy(reference)

    def removed(self, image: Image) -> tuple[Image, float]:
        """An exposure, registered, without what moves, and the share of its pixels that was replaced."""
        copy = _small_copy(image)
        moving = _moving(self._copy, copy)
        if not moving.any():
            return image, 0.0
        around = dilate(moving, _RIM, disc=True)
        pairs = list(zip(_planes(self._copy, copy), _planes(copy, copy)))
        known = np.isfinite(pairs[0]).all(axis=0)
        still = known & ~around
        still = still if still.any() else known  # nearly everything moves
        curves = [_curve(before[still], after[still]) for before, after in pairs]
        inner, outer = (_soft(one, image.pixels.shape[:2]) for one in (moving, around))
        result = np.empty(image.pixels.shape, np.float32)
        for rows in row_bands(image.pixels.shape):
            shown, own = expanded(self._reference.pixels[rows]), expanded(image.pixels[rows])
            weight = _weight(inner[rows], outer[rows], shown)
            if self._reference.valid is not None:
                weight *= self._reference.valid[rows]
            mapped = [np.interp(plane, *curve) for plane, curve in zip(_planes(shown, own), curves)]
            if own.ndim == 2:
                result[rows] = own + weight * (mapped[0] - own)
            else:
                result[rows] = own + weight[..., None] * (np.dstack(mapped) - own)
        return replace(image, pixels=result), float(moving.mean())


def as_bright_as(image: Image, other: Image) -> Image:
    """An exposure made as bright as another one, by what both show; unchanged where that is nothing.

    All channels follow one curve, whose bright half rises by at most `_STEEPEST`: what is nearly clipped would show its
    noise.  What is white becomes what it is in the other one on average.

    Args:
        other: of the same height and width, registered.
    """
    before, after = _small_copy(image), _small_copy(other)
    if before.ndim != after.ndim:
        before, after = luma_of(before), luma_of(after)
    both = np.isfinite(before) & np.isfinite(after)
    if not both.any():
        return image
    values, becomes = _curve(before[both], after[both])
    for k in np.flatnonzero(values > 0.5)[1:]:
        becomes[k] = min(becomes[k], becomes[k - 1] + _STEEPEST * (values[k] - values[k - 1]))
    clipped = both & (_lowest(before) > _WHITE)
    white = np.mean(after, where=clipped) if clipped.any() else becomes[-1]
    result = np.empty(image.pixels.shape, np.float32)
    for rows in row_bands(result.shape):
        shown = expanded(image.pixels[rows])
        mapped = np.interp(shown, values, becomes)
        share = ((_lowest(shown) - _NEARLY_WHITE) / (1 - _NEARLY_WHITE)).clip(0, 1)
        result[rows] = mapped + share * (white - mapped)
    return replace(image, pixels=result)


def _lowest(pixels: np.ndarray) -> np.ndarray:
    """The smallest channel, (H, W) of gray pixels, else (H, W, 1)."""
    return pixels if pixels.ndim == 2 else pixels.min(axis=2, keepdims=True)


def _moving(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where something moves between small copies of two exposures; bool, (h, w).

    The curves of the second look leave out what the first one found.
    """
    dark, bright = sorted((one, other), key=lambda copy: float(np.nanmean(luma_of(copy))))
    first = _differ(dark, bright)
    return _differ(dark, bright, ~dilate(first, _RIM, disc=True)) if first.any() else first


def _differ(dark: np.ndarray, bright: np.ndarray, still: np.ndarray | None = None) -> np.ndarray:
    """`moved` by luminance, or by a channel where the darker one is not clipped in it."""
    found = moved(luma_of(dark), luma_of(bright), still)
    if dark.ndim == bright.ndim == 3:
        for k in range(3):
            seen = (dark[..., k] > _BLACK) & (dark[..., k] < _WHITE)
            found |= moved(dark[..., k], bright[..., k], still, _MOVED_CHANNEL) & seen
    return found


def _planes(pixels: np.ndarray, like: np.ndarray) -> list[np.ndarray]:
    """An image's channels as another one has them: its luminance where that is gray; where that is RGB, three."""
    if like.ndim == 2:
        return [luma_of(pixels)]
    return [pixels if pixels.ndim == 2 else pixels[..., k] for k in range(3)]


def _soft(moving: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask of a copy at full size (H, W), uint8, with soft borders."""
    soft = cv2.GaussianBlur(moving.astype(np.float32), (0, 0), _RIM / 2)
    return cv2.resize(np.rint(255 * soft).astype(np.uint8), size[::-1], interpolation=cv2.INTER_LINEAR)


def _weight(inner: np.ndarray, outer: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Share of the reference in some rows, in [0, 1]: `outer` of 255, but `inner` where the reference is clipped."""
    brightest = reference if reference.ndim == 2 else reference.max(axis=2)
    clear = (np.minimum(luma_of(reference) - _BLACK, _WHITE - brightest) / np.float32(_BLACK)).clip(0, 1)
    return np.float32(1 / 255) * (inner + clear * (outer.astype(np.float32) - inner))


def _curve(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and what they become, so that the histogram of the first becomes that of the second; both increase."""
    shares = np.linspace(0, 1, _POINTS)
    values, becomes = (np.quantile(one, shares) for one in (before, after))
    values, first = np.unique(values, return_index=True)
    return values.astype(np.float32), becomes[first].astype(np.float32)


def _small_copy(image: Image) -> np.ndarray:
    """A small copy, (h, w) or (h, w, 3) float32 in [0, 1], NaN without data."""
    pixels = image.pixels
    if pixels.ndim == 2:
        return _small(_luma_with_gaps(image), _COPY)
    return np.dstack([_small(_luma_with_gaps(replace(image, pixels=pixels[..., k])), _COPY) for k in range(3)])


def _luma_with_gaps(image: Image) -> np.ndarray:
    """Luminance, NaN without data."""
    luma = luma_of(image.pixels)
    return luma if image.valid is None else np.where(image.valid, luma, np.float32(np.nan))


def _small(plane: np.ndarray, side: int) -> np.ndarray:
    factor = min(1.0, side / max(plane.shape))
    size = max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor))
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
