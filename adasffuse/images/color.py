"""Full-range BT.601 YCbCr, and the colour of a fused image.  Arrays are float32, (H, W) gray or (H, W, 3) RGB.

Y = 0.299 R + 0.587 G + 0.114 B, Cb = (B - Y) / 1.772, Cr = (R - Y) / 1.402: ITU-R BT.601's equations on the full
range, as in JFIF 1.02.  Y lies in [0, 1]; Cb and Cr lie in [-0.5, 0.5], 0 being neutral (128 in 8-bit files).
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

_COLORFUL = 0.02  # mean difference of the largest and smallest channel from which on an image counts as coloured
LEAST_CHROMA = np.float32(0.7)  # share of a warm colour that a fused image keeps
LEAST_LUMA = np.float32(0.95)  # share of a bright colour's luminance
STRUCTURE = np.float32(0.15)  # share of the luminance beyond that
WARM = 0.04, 0.16  # Cr beyond Cb: from where a colour is warm, and from where wholly
BRIGHT = 0.6, 0.8  # luminance, the same
CB_SCALE, CR_SCALE = np.float32(1.772), np.float32(1.402)
_LEVELS = {"8": np.float32(255), "16": np.float32(65535), "float": None}  # white, per depth
G_FROM_CB, G_FROM_CR = np.float32(0.114 * 1.772 / 0.587), np.float32(0.299 * 1.402 / 0.587)


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Y of BT.601, (H, W) float32 in [0, 1], of gray (H, W) or RGB (H, W, 3) pixels in [0, 1]."""
    if pixels.ndim == 2:
        return pixels.astype(np.float32, copy=False)
    gray = cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY)
    return np.clip(gray, 0, 1)  # the three weights add up to 1 only up to rounding


def rgb_to_ycbcr(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y in [0, 1], Cb and Cr in [-0.5, 0.5], each (H, W) float32, of (H, W, 3) RGB in [0, 1]."""
    y = luminance(rgb)
    return y, (rgb[..., 2] - y) / CB_SCALE, (rgb[..., 0] - y) / CR_SCALE


def ycbcr_to_rgb(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 RGB, the inverse of `rgb_to_ycbcr`; out of gamut it leaves [0, 1]."""
    return cv2.merge([y + offset for offset in _offsets(cb, cr)])


def fit_gamut(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrink (Cb, Cr) towards neutral, hue kept, just until RGB lies in [0, 1]; Y in [0, 1] is never touched."""
    red, green, blue = _offsets(cb, cr)
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    least = np.float32(1e-12)
    scale = np.minimum((1 - y) / np.maximum(highest, least), y / np.maximum(-lowest, least))
    scale = np.minimum(scale, 1)
    return cb * scale, cr * scale


def _offsets(cb: np.ndarray, cr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R, G and B less Y."""
    return CR_SCALE * cr, -G_FROM_CB * cb - G_FROM_CR * cr, CB_SCALE * cb


def rebuild_color(luma: np.ndarray, sources: Sequence[np.ndarray], rule: str, depth: str = "8") -> np.ndarray:
    """The fused image: fused luminance with the sources' chroma.

    Rule 'weighted' mixes the chroma points (Cb, Cr) of all sources pixel by pixel, each weighed by its own distance
    from neutral: c = (|c1| c1 + |c2| c2 + ...) / (|c1| + |c2| + ...), neutral where all are.  Cb and Cr share the
    weight (rather than having one each), so that the hue lies between the sources' hues and no colour exceeds the
    strongest one.

    Luminance is rounded to a level of `depth` before colour is added: the rounded Y of the saved file is that level.

    Args:
        luma: (H, W) fused luminance; what lies outside [0, 1] is clipped.
        sources: S >= 2 sources in [0, 1], (H, W) or (H, W, 3), of the same height and width.
        rule: whose chroma the result takes: 'a' (the first source), 'b' (the others) or 'weighted' (all).
        depth: of the file that the result is written to, '8', '16' or 'float' (luminance is not rounded).
    Returns:
        float32 in [0, 1], for `quantise` or `write_image`: (H, W, 3) RGB, or (H, W) gray where no source that the
        rule uses has chroma.
    Raises:
        ValueError: unknown rule or depth, fewer than two sources, or heights and widths differ.
    """
    used = {"a": sources[:1], "b": sources[1:], "weighted": sources}.get(rule)
    if used is None:
        raise ValueError(f"colour rule must be 'a', 'b' or 'weighted', got {rule!r}")
    if depth not in _LEVELS:
        raise ValueError(f"depth must be '8', '16' or 'float', got {depth!r}")
    if len(sources) < 2:
        raise ValueError(f"rebuild_color needs two or more sources, got {len(sources)}")
    sizes = [luma.shape, *(source.shape[:2] for source in sources)]
    if len(set(sizes)) > 1:
        raise ValueError(f"rebuild_color needs one height and width, got {', '.join(map(str, sizes))}")
    chroma = ChromaMean()
    for source in used:
        chroma.add(source)
    return with_chroma(luma, chroma.result(), depth)


class ChromaMean:
    """Mean of the chroma points (Cb, Cr) of images, each weighted by its distance from neutral.

    Images are added one after the other; one that is gray adds nothing.
    """

    def __init__(self) -> None:
        self._sums: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._alone: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, pixels: np.ndarray) -> None:
        """Take an image, (H, W) or (H, W, 3) in [0, 1], into account."""
        if is_gray(pixels):
            return
        cb, cr = rgb_to_ycbcr(pixels)[1:]
        if self._sums is None and self._alone is None:
            self._alone = cb, cr
            return
        if self._sums is None:
            first = np.hypot(*self._alone)
            self._sums, self._alone = (first, first * self._alone[0], first * self._alone[1]), None
        weight = np.hypot(cb, cr)
        for total, value in zip(self._sums, (weight, weight * cb, weight * cr)):
            total += value

    def result(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Cb and Cr, (H, W) float32; None where no image had colour.  One coloured image alone keeps its own."""
        if self._sums is None:
            return self._alone
        total = np.maximum(self._sums[0], np.float32(1e-12))
        return self._sums[1] / total, self._sums[2] / total


def with_chroma(luma: np.ndarray, chroma: tuple[np.ndarray, np.ndarray] | None, depth: str) -> np.ndarray:
    """The last part of `rebuild_color`: luminance with a chroma, of the same shapes; arguments and result as there."""
    exact = np.clip(luma, 0, 1).astype(np.float32, copy=False)
    levels = _LEVELS[depth]
    level = np.rint(exact * levels) if levels else exact
    y = level / levels if levels else exact
    if chroma is None:
        return y
    cb, cr = chroma
    rgb = ycbcr_to_rgb(y, *fit_gamut(exact, cb, cr)).clip(0, 1)
    if levels:  # near black and white, clipping what rounding has pushed out of gamut may have moved Y by a level
        moved = np.rint(luminance(np.rint(rgb * levels) / levels) * levels) != level
        if moved.any():
            one = y[moved][:, None], *(values[moved][:, None] for values in chroma)
            rgb[moved] = ycbcr_to_rgb(one[0], *fit_gamut(*one)).clip(0, 1)[:, 0]
    return rgb


def joined_rows(parts: Iterable[np.ndarray], height: int) -> np.ndarray:
    """One image of the rows in `parts`, (h, W) or (h, W, 3) from the top down; RGB where one of them is."""
    whole, row = None, 0
    for part in parts:
        if whole is None:
            whole = np.empty((height, *part.shape[1:]), part.dtype)
        if part.ndim > whole.ndim:
            whole = np.repeat(whole[..., None], 3, axis=2)
        whole[row : row + len(part)] = part if part.ndim == whole.ndim else part[..., None]
        row += len(part)
    return whole


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the channels of an image, (H, W) or (H, W, 3), are all equal."""
    if pixels.ndim == 2:
        return True
    red, green, blue = (pixels[..., k] for k in range(3))  # whole planes: a fifth of the time of channel by channel
    return bool((red == green).all() and (green == blue).all())


def keep_hot_spots(luma: np.ndarray, functional: np.ndarray) -> np.ndarray:
    """Luminance at which high activity in a PET or SPECT image stays visible, and what is dense in a CT image.

    In the colour maps of PET and SPECT red, orange and, at the top, white stand for high activity.  Red is darker than
    bright tissue, with whose luminance nothing of it would be left; white and pale yellow turn gray and olive where
    dark tissue gives the luminance, and white spots of gray images are lost beside brighter tissue.  So where a colour
    is warm, the luminance is moved towards what leaves `LEAST_CHROMA` of the chroma in gamut, and where it is bright,
    towards `LEAST_LUMA` of its own luminance.  Of what goes beyond, `STRUCTURE` stays, and with it that of the tissue.
    Other colours change nothing.

    Args:
        luma: (H, W) fused luminance in [0, 1].
        functional: the first source, which gives the result its chroma, (H, W) or (H, W, 3) RGB in [0, 1].
    Returns:
        (H, W) float32.
    """
    own = luminance(functional)
    darkest, brightest = LEAST_LUMA * own * _ramp(own, BRIGHT), np.float32(1)
    if functional.ndim == 3:
        _, cb, cr = rgb_to_ycbcr(functional)
        warm = LEAST_CHROMA * _ramp(cr - np.maximum(cb, 0), WARM)
        red, green, blue = _offsets(cb, cr)
        darkest = np.maximum(-warm * np.minimum(np.minimum(red, green), blue), darkest)
        brightest = 1 - warm * np.maximum(np.maximum(red, green), blue)
    limited = np.clip(luma, darkest, brightest)
    return limited + STRUCTURE * (luma - limited)


def _ramp(x: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """0 up to the first end, 1 from the second on."""
    low, high = ends
    return ((x - np.float32(low)) * np.float32(1 / (high - low))).clip(0, 1)


def is_colorful(pixels: np.ndarray) -> bool:
    """Whether an image, (H, W) or (H, W, 3) in [0, 1] or of levels, is more than tinted, judged by every 16th pixel."""
    if pixels.ndim == 2:
        return False
    some = pixels[::4, ::4]
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return float(np.mean(some.max(axis=2) - some.min(axis=2))) > _COLORFUL * white
