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

from adasffuse.images.color import as_rgb, luminance
from adasffuse.images.content import measure_content, smooth_step
from adasffuse.images.levels import expanded, luma_of, release_if_large, row_bands, with_margin

_FEATHER = 16  # pixels over which a source fades beside missing ones
_RIM = 2.0  # pixels beside missing ones that a warp has mixed with them
_LEVEL_FADE = 1 / 16  # of the longer side: width over which brightness fades beside a region without data


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
    filled = _fill_all(sources, [_share(valid, feather) for valid in valids])
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


def _fill_all(sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Every source with the others' values by the shares of `_share`."""
    return [_fill(index, sources, shares) for index in range(len(sources))]


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
        reach = max(height, width) * _LEVEL_FADE  # pixels
        factor = max(1, int(reach / 8))  # the local mean is made at this part of the size
        size = (-(-width // factor), -(-height // factor))
        difference = np.subtract(fused, shown, out=fused)
        weights = self.share.copy() if self.known is None else self.share * self.known
        weight, share = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (weights, self.share))
        weights *= difference
        level = cv2.resize(weights, size, interpolation=cv2.INTER_AREA)  # the local mean, times its weight
        del weights
        depth = factor * _distance(share > 0.5)
        reach = min(reach, float(depth.max()) / 2)
        if reach > 0:
            level, weight = (cv2.GaussianBlur(one, (0, 0), max(1, reach / factor / 3)) for one in (level, weight))
            level *= (1 - smooth_step(depth / reach)) / np.maximum(weight, np.float32(1e-6))
            level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
        for rows in row_bands(difference.shape):
            part = difference[rows]
            if reach > 0:
                faded = part - (level[rows] if self.known is None else level[rows] * self.known[rows])
                np.clip(faded, np.minimum(part, 0), np.maximum(part, 0), out=part)
            part *= self.share[rows]
            part += shown[rows]
        return fused


def blend_empty(sources: Sequence[np.ndarray], contents: Sequence[float] | None = None) -> list[np.ndarray]:
    """Blend a source of a pair that has no content, or little, towards the other one.

    A source with content c takes (1 - c) of the other one, times the other's content: where neither has content,
    nothing changes.  More than two sources stay as they are, see `adasffuse.images.content.choose_sources`.

    Args:
        sources: S >= 2 sources, float32 in [0, 1], (H, W) or (H, W, 3), of one height and width.
        contents: `measure_content` of each, where it is known.
    Returns:
        The sources, in the shapes given.
    """
    if len(sources) != 2:
        return list(sources)
    contents = [measure_content(source) for source in sources] if contents is None else contents
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
        contents = [measure_content(source, valid) for source, valid in zip(sources, valids)]
    if all(valid is None or valid.all() for valid in valids):
        return blend_empty(sources, contents), None, [None] * len(sources)
    sources, valids, anywhere = _continued(sources, valids)
    shares = [_share(valid, _FEATHER) for valid in valids]
    gaps = _gaps(sources, shares, contents)
    release_if_large(sources[0].shape)
    filled = _fill_all(sources, shares)
    return blend_empty(filled, contents), anywhere, gaps


def _gaps(
    sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None], contents: Sequence[float]
) -> list[Gap | None]:
    """The gap of each source; one without content is replaced in `extended` as by `blend_empty`."""
    lumas = [luma_of(source) for source in sources]
    fields: dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray | None]] = {}  # of a gap, without `extended`
    extended = list(lumas)
    for index, own in enumerate(shares):
        if own is not None:
            others, share, known = _mean_of_others(index, lumas, shares)
            fields[index] = share, known, others if len(lumas) > 2 else None
            extended[index] = _extended(lumas[index], others, own, known, _FEATHER / 2)
            del others
    extended = blend_empty(extended, contents)
    return [Gap(extended[index], *fields[index]) if index in fields else None for index in range(len(sources))]


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
        own = smooth_step((share[rows] - _RIM) / feather)
        if beside is not None:
            own *= smooth_step(beside[rows] / 3)
        # A little even beside missing pixels: there its values are taken where the others have none.
        share[rows] = np.where(valid[rows], np.maximum(own, np.float32(1e-6)), 0)
    return share


def _fill(index: int, sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> np.ndarray:
    """Source `index`: its values by its share s, and the others' by (1 - s) times theirs, over the sum of weights."""
    source = sources[index]
    if shares[index] is None:
        return source
    result = np.empty(source.shape, np.float32)
    for rows in row_bands(source.shape):
        parts = [None if share is None else share[rows] for share in shares]
        result[rows] = _mixed(index, [expanded(one[rows]) for one in sources], parts)
    return result


def _mixed(index: int, sources: Sequence[np.ndarray], shares: Sequence[np.ndarray | None]) -> np.ndarray:
    """As `_fill`, of some rows of a source that lacks data."""
    source, own = sources[index], shares[index]
    others = [i for i in range(len(sources)) if i != index]
    rest = 1 - own
    weights = [rest if shares[i] is None else rest * shares[i] for i in others]
    total = own + sum(weights)
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    result = _times(own * scale, source)
    for i, weight in zip(others, weights):
        result += _times(weight * scale, _like(source, sources[i]))
    return result.clip(0, 1)


def _mean_of_others(
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
    """A source continued where its own share is (nearly) 0: the others plus the nearest mean difference from them.

    Args:
        luma, others: (H, W) float32, the source and the mean of the others.
        own: the source's own share, see `_share`.
        known: where `others` holds data; None: everywhere.
        sigma: pixels, of the Gaussian in which differences are averaged.
    """
    inside = own > 1e-5
    if not inside.any():
        return others
    labels = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    nearest = np.zeros(labels.max() + 1, np.float32)
    rim = round(8 * sigma)  # more than the blur reaches
    for rows in row_bands(luma.shape):
        around = with_margin(rows, rim)
        weight = (inside[around] if known is None else inside[around] & known[around]).astype(np.float32)
        sums = cv2.GaussianBlur((luma[around] - others[around]) * weight, (0, 0), sigma)
        weights = cv2.GaussianBlur(weight, (0, 0), sigma)
        mean = (sums / np.maximum(weights, np.float32(1e-6)))[rows.start - around.start :][: rows.stop - rows.start]
        there = inside[rows]
        nearest[labels[rows][there]] = mean[there]
    result = np.empty_like(luma)
    for rows in row_bands(luma.shape):
        result[rows] = np.where(inside[rows], luma[rows], (others[rows] + nearest[labels[rows]]).clip(0, 1))
    return result


def _times(weight: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pixels, (H, W) or (H, W, 3), times a weight (H, W)."""
    return pixels * (weight if pixels.ndim == 2 else weight[..., None])


def _like(source: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` as gray or RGB, whichever `source` is."""
    if source.ndim == 2:
        return luminance(other)
    return as_rgb(other)


def _distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the nearest False in pixels, (H, W) float32; 1e6 where there is none."""
    if inside.all():
        return np.full(inside.shape, np.float32(1e6))
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
