"""Regions where a source holds no data, and sources without content: the other sources are shown there.

The network returns x where all its sources equal x: given the others' values, a source shows them.  At the edge of a
region without data that alone leaves a ring.  A fade from a source's values to the others' is detail that neither
holds, and fusion brings detail out.  So the network is given sources continued without an edge, and what it makes of
them fades into the others afterwards, see `Gap`: detail beside the edge, differences of brightness further inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from adasffuse.images.color import luminance
from adasffuse.images.levels import expanded, luma_of, release_if_large, row_bands

_SMALLEST_AREA = 0.005  # of the image: a border without data
_NEARLY_ZERO, _DARK = 0.02, 0.1  # of the image's brightest values: what surrounds a scene that was clipped at zero
_JPEG_NOISE = 3  # of 255, in a black border
_FEATHER = 16  # pixels over which a source fades beside missing ones
_RIM = 2.0  # pixels beside missing ones that a warp has mixed with them
_LEVEL_FADE = 1 / 16  # of the longer side: width over which brightness fades beside a region without data
_CUT_OFF, _FULL = np.float32(2.5 / 255), np.float32(5 / 255)  # range of block means: no content, and content
_BLOCK, _STEP = 8, 4  # pixels
_LEFT = np.uint8([[1, 1, 0, 0, 0]])  # the two pixels on one side
_SIDES = (_LEFT, _LEFT[:, ::-1].copy(), _LEFT.T.copy(), _LEFT.T[::-1].copy())
_LARGER = (1, 2, 4, 8)  # times a block's side, where single pixels are missing everywhere


def thermal_border_mask(values: np.ndarray) -> np.ndarray:
    """Where a thermal image holds no data: exact 0 in a large area joined to the border, as a warp leaves it.

    Such an area has at least 0.5 % of the image's pixels, lies around a convex rest (at least half of it outside the
    convex hull of what is not 0), and ends abruptly.  A cold sky that the camera clipped at zero is data: mostly it
    lies between other things, and it fades into its surroundings: 3 to 4 px beyond the area the median is at most 2 %
    of the image's 99th percentile, or at most 10 % and still rising (at most three quarters of the median 7 to 8 px
    beyond).  An image that is 0 everywhere has no border; see `without_empty` for it.

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
        near, far = (_median(values, finite & _grown(area, r) & ~_grown(area, r - 2)) for r in (4, 8))
        fades = near <= _NEARLY_ZERO * bright or (near <= _DARK * bright and near <= 0.75 * far)
        if not fades:
            missing |= area
    return missing


def without_holes(pixels: np.ndarray, valid: np.ndarray, dead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An image whose dead pixels and lines have the values of their neighbours, and where it holds data then.

    Filled are dead pixels that neither belong to a square of 3x3 missing ones nor touch one, have data within two
    pixels on both sides, left and right or above and below, and in most of the 9x9 pixels around.  What a warp leaves
    along a border, with dark rims, stays missing.  They take the mean of what lies within two pixels, weighted by a
    Gaussian.

    Args:
        pixels: (H, W) or (H, W, 3) float32.
        valid: (H, W) bool, False where data is missing.
        dead: (H, W) bool, which missing pixels may be filled.
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


def fill_missing(
    sources: Sequence[np.ndarray], valids: Sequence[np.ndarray | None], feather: int = _FEATHER
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Give every source the others' values where it holds no data, faded in over `feather` pixels.

    The fade lies inside the valid region, so that neither a seam nor the dark rim of a warp shows: the first two
    pixels beside missing ones count as missing, then the source's share grows smoothly from 0 to 1.  Beside holes of
    fewer than feather^2 pixels (dead pixels) the fade takes 3 pixels.

    Args:
        sources: S >= 2 sources, (H, W) or (H, W, 3), of one height and width: float32 in [0, 1], or levels where one
            holds data everywhere.
        valids: per source (H, W) bool, False where it holds no data, or None.
        feather: pixels, at least 1.
    Returns:
        The sources in the shapes given (a gray one takes the others' luminance), and (H, W) bool, False where no
        source holds data (the sources are 0 there), or None where some source holds data everywhere.
    Raises:
        ValueError: other numbers of masks than of sources, or heights and widths differ.
    """
    _check_masks(sources, valids)
    if all(valid is None or valid.all() for valid in valids):
        return list(sources), None
    sources, valids, anywhere = _continued(sources, valids)
    filled = _all_filled(sources, [_share(valid, feather) for valid in valids])
    return [one if anywhere is None else _times(anywhere, one) for one in filled], anywhere


def _check_masks(sources: Sequence[np.ndarray], valids: Sequence[np.ndarray | None]) -> None:
    """Raise ValueError as `fill_missing`."""
    if len(valids) != len(sources):
        raise ValueError(f"fill_missing needs one mask (or None) per source, got {len(valids)} for {len(sources)}")
    sizes = {s.shape[:2] for s in sources} | {v.shape for v in valids if v is not None}
    if len(sizes) > 1:
        raise ValueError(f"fill_missing needs one height and width, got {sorted(sizes)}")


def _continued(
    sources: Sequence[np.ndarray], valids: Sequence[np.ndarray | None]
) -> tuple[list[np.ndarray], list[np.ndarray | None], np.ndarray | None]:
    """Sources and masks that, where no source holds data, are those of the nearest pixel where one does.

    So what all lack in common, as beside the outline of a map, is no edge, and no source fades into others that end at
    the same place.

    Returns:
        Sources, masks, and (H, W) bool, False where no source holds data; None where some source does everywhere.
    """
    if any(valid is None for valid in valids):
        return list(sources), list(valids), None
    anywhere = np.logical_or.reduce(valids)
    if anywhere.all():
        return list(sources), list(valids), None
    if not anywhere.any():
        return list(sources), list(valids), anywhere
    nearest = nearest_known(anywhere)
    return [continued(one, nearest) for one in sources], [continued(one, nearest) for one in valids], anywhere


def nearest_known(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the pixels where `known`, (H, W) bool, is False, and of the nearest ones where it is True."""
    labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    places = np.zeros(labels.max() + 1, np.intp)
    places[labels[known]] = np.flatnonzero(known)
    return np.flatnonzero(~known), places[labels[~known]]


def continued(values: np.ndarray, nearest: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A copy of (H, W) or (H, W, 3) whose pixels are taken as `nearest_known` says."""
    result = values.copy(order="C")
    flat = result.reshape(-1, *values.shape[2:])
    flat[nearest[0]] = flat[nearest[1]]
    return result


def _all_filled(sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Every source with the others' values by the shares of `_share`."""
    return [_filled(index, sources, shares) for index in range(len(sources))]


@dataclass(frozen=True)
class Gap:
    """The regions in which a source holds no data, as luminance, (H, W) float32."""

    extended: np.ndarray  # the source: its own values, and where it has none the others' plus the difference beside
    share: np.ndarray  # of what is fused with the source, 0 to 1; the rest of the fused image shows the others
    known: np.ndarray | None  # (H, W) bool, where the others hold data; None: everywhere
    others: np.ndarray | None  # mean of the others; None where there is one only

    def fade(self, fused: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """The fused image where the source holds data, and what is shown elsewhere, without a seam between both.

        Detail fades in by `share`, within some pixels.  A step of brightness would still be seen, as in a clear sky:
        the local mean of the difference fades in over 1/16 of the longer side, or half of what the region is deep.
        The result lies between both images.

        Args:
            fused: (H, W) float32 luminance.  It is overwritten by the result, which is returned.
            shown: luminance of the others, or of their fusion.
        """
        height, width = shown.shape
        reach = max(height, width) * _LEVEL_FADE
        factor = max(1, int(reach / 8))
        size = (-(-width // factor), -(-height // factor))
        difference = np.subtract(fused, shown, out=fused)
        whole = self.share.copy() if self.known is None else self.share * self.known
        weight, share = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (whole, self.share))
        whole *= difference
        level = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        del whole
        depth = factor * _distance(share > 0.5)
        reach = min(reach, float(depth.max()) / 2)
        if reach > 0:
            level, weight = (cv2.GaussianBlur(one, (0, 0), max(1, reach / factor / 3)) for one in (level, weight))
            level *= (1 - _smooth_step(depth / reach)) / np.maximum(weight, np.float32(1e-6))
            level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
        for rows in row_bands(difference.shape):
            part = difference[rows]
            if reach > 0:
                left = part - (level[rows] if self.known is None else level[rows] * self.known[rows])
                np.clip(left, np.minimum(part, 0), np.maximum(part, 0), out=part)
            part *= self.share[rows]
            part += shown[rows]
        return fused


def content(source: np.ndarray, valid: np.ndarray | None = None) -> float:
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
    return float(_smooth_step((means.max() - means.min() - _CUT_OFF) / (_FULL - _CUT_OFF)))


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


def telling(contents: Sequence[float]) -> list[int]:
    """Numbers of the sources that are fused: of more than two those with content, and two at least.

    The others add nothing: any stand-in, such as a mean, would count as one more source.  Where none has content, all.

    Args:
        contents: `content` of each source.
    """
    everyone = range(len(contents))
    count = sum(amount > 0 for amount in contents)
    if len(contents) <= 2 or count == 0:
        return list(everyone)
    return sorted(sorted(everyone, key=lambda k: contents[k] == 0)[: max(2, count)])


def without_empty(sources: Sequence[np.ndarray], contents: Sequence[float] | None = None) -> list[np.ndarray]:
    """Blend a source of a pair that has no content, or little, towards the other one.

    A source with content c takes (1 - c) of the other one, times the other's content: where neither has content,
    nothing changes.  More than two sources stay as they are, see `telling`.

    Args:
        sources: S >= 2 sources, float32 in [0, 1], (H, W) or (H, W, 3), of one height and width.
        contents: `content` of each, where it is known.
    Returns:
        The sources, in the shapes given.
    """
    if len(sources) != 2:
        return list(sources)
    contents = [content(source) for source in sources] if contents is None else contents
    result = []
    for index, source in enumerate(sources):
        amount = np.float32((1 - contents[index]) * contents[1 - index])
        if amount > 0:
            source = ((1 - amount) * source + amount * _like(source, sources[1 - index])).clip(0, 1)
        result.append(source)
    return result


def complete(
    sources: Sequence[np.ndarray],
    valids: Sequence[np.ndarray | None],
    contents: Sequence[float] | None = None,
) -> tuple[list[np.ndarray], np.ndarray | None, list[Gap | None]]:
    """Sources with missing regions filled and without flat frames, and what the fusion of such regions needs.

    Content is judged on what each source holds itself, before it is filled.

    Args, raises: as `fill_missing`; `contents` are those of the sources, where they are known.
    Returns:
        The sources in the shapes given; (H, W) bool, False where no source holds data (they are continued there by what
        lies nearest), or None; and for each source its `Gap`, None where it lacks no data that another one holds.
    """
    _check_masks(sources, valids)
    if contents is None:
        contents = [content(source, valid) for source, valid in zip(sources, valids)]
    if all(valid is None or valid.all() for valid in valids):
        return without_empty(sources, contents), None, [None] * len(sources)
    sources, valids, anywhere = _continued(sources, valids)
    shares = [_share(valid, _FEATHER) for valid in valids]
    gaps = _gaps(sources, shares, contents)
    release_if_large(sources[0].shape)
    filled = _all_filled(sources, shares)
    return without_empty(filled, contents), anywhere, gaps


def _gaps(
    sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None], contents: Sequence[float]
) -> list[Gap | None]:
    """The gap of each source; one without content is replaced in `extended` as by `without_empty`."""
    lumas = [luma_of(source) for source in sources]
    found: dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray | None]] = {}
    extended = list(lumas)
    for index, own in enumerate(shares):
        if own is not None:
            others, share, known = _others(index, lumas, shares)
            found[index] = share, known, others if len(lumas) > 2 else None
            extended[index] = _extended(lumas[index], others, own, known, _FEATHER / 2)
            del others
    extended = without_empty(extended, contents)
    return [Gap(extended[k], *found[k]) if k in found else None for k in range(len(sources))]


def _share(valid: np.ndarray | None, feather: int) -> np.ndarray | None:
    """A source's own share, (H, W) float32 in [0, 1]: 0 where data is missing, None for 1 everywhere."""
    if valid is None or valid.all():
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~valid).astype(np.uint8), connectivity=8)
    is_large = stats[:, cv2.CC_STAT_AREA] >= feather**2
    is_large[0] = False  # label 0 is what is valid
    large = is_large[labels]
    small = ~valid & ~large
    del labels
    share = _distance(~large)
    beside = _distance(~small) if small.any() else None
    for rows in row_bands(share.shape):
        own = _smooth_step((share[rows] - _RIM) / feather)
        if beside is not None:
            own *= _smooth_step(beside[rows] / 3)
        share[rows] = np.where(valid[rows], np.maximum(own, np.float32(1e-6)), 0)  # own where the others have none
    return share


def _filled(index: int, sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> np.ndarray:
    """Source `index`: own values times own share, the others' times what is left, over the sum of these weights."""
    source = sources[index]
    if shares[index] is None:
        return source
    result = np.empty(source.shape, np.float32)
    for rows in row_bands(source.shape):
        parts = [None if share is None else share[rows] for share in shares]
        result[rows] = _mixed(index, [expanded(one[rows]) for one in sources], parts)
    return result


def _mixed(index: int, sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> np.ndarray:
    """As `_filled`, of some rows of a source that lacks data."""
    source, own = sources[index], shares[index]
    others = [i for i in range(len(sources)) if i != index]
    left = 1 - own
    weights = [left if shares[i] is None else left * shares[i] for i in others]
    total = own + sum(weights)
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    result = _times(own * scale, source)
    for i, weight in zip(others, weights):
        result += _times(weight * scale, _like(source, sources[i]))
    return result.clip(0, 1)


def _others(
    index: int, lumas: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Mean of the others weighted by their shares, source `index`'s share beside it, and where the mean is known.

    The last is None where it is known everywhere.
    """
    if len(lumas) == 2 and shares[1 - index] is None:
        return lumas[1 - index], shares[index], None
    mean, share = np.empty_like(lumas[index]), np.zeros_like(lumas[index])
    known = np.empty(mean.shape, bool)
    for rows in row_bands(mean.shape):
        own = shares[index][rows]
        weights = [np.ones_like(own) if s is None else s[rows] for i, s in enumerate(shares) if i != index]
        rest = [luma[rows] for i, luma in enumerate(lumas) if i != index]
        total = sum(weights)
        known[rows] = total > 0
        mean[rows] = sum(weight * luma for weight, luma in zip(weights, rest)) / np.where(known[rows], total, 1)
        together = own + (1 - own) * total
        np.divide(own, together, out=share[rows], where=together > 0)
    return mean, share, known


def _extended(
    luma: np.ndarray, others: np.ndarray, own: np.ndarray, known: np.ndarray | None, sigma: float
) -> np.ndarray:
    """A source continued where its own share is (nearly) 0: the others plus the nearest mean difference from them."""
    inside = own > 1e-5
    if not inside.any():
        return others
    labels = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    nearest = np.zeros(labels.max() + 1, np.float32)
    rim = round(8 * sigma)  # more than the blur reaches
    for rows in row_bands(luma.shape):
        around = slice(max(0, rows.start - rim), rows.stop + rim)
        weight = (inside[around] if known is None else inside[around] & known[around]).astype(np.float32)
        blurred = [cv2.GaussianBlur(x, (0, 0), sigma) for x in ((luma[around] - others[around]) * weight, weight)]
        own = slice(rows.start - around.start, rows.stop - around.start)
        mean, total = (one[own] for one in blurred)
        there = inside[rows]
        nearest[labels[rows][there]] = (mean / np.maximum(total, np.float32(1e-6)))[there]
    result = np.empty_like(luma)
    for rows in row_bands(luma.shape):
        result[rows] = np.where(inside[rows], luma[rows], (others[rows] + nearest[labels[rows]]).clip(0, 1))
    return result


def _times(weight: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return pixels * (weight if pixels.ndim == 2 else weight[..., None])


def _like(source: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` as gray or RGB, whichever `source` is."""
    if source.ndim == 2:
        return luminance(other)
    return other if other.ndim == 3 else np.repeat(other[..., None], 3, axis=2)


def _distance(inside: np.ndarray) -> np.ndarray:
    """Pixels to the nearest False, (H, W) float32; large where there is none."""
    if inside.all():
        return np.full(inside.shape, np.float32(1e6))
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


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


def _grown(area: np.ndarray, pixels: int) -> np.ndarray:
    size = 2 * pixels + 1
    return cv2.dilate(area.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)


def _smooth_step(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, 3 t^2 - 2 t^3 between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
