"""Full-range BT.601 YCbCr, and the colour of a fused image.  Arrays are float32, (H, W) gray or (H, W, 3) RGB.

Y = 0.299 R + 0.587 G + 0.114 B, Cb = (B - Y) / 1.772, Cr = (R - Y) / 1.402: ITU-R BT.601's equations on the full
range, as in JFIF 1.02.  Y lies in [0, 1]; Cb and Cr lie in [-0.5, 0.5], 0 being neutral (128 in 8-bit files).
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import cv2
import numpy as np

COLOR_RULES = ("a", "b", "exposed", "nearest")  # whose chroma a result takes, see `rebuild_color`
COLOR_MARGIN = 1  # pixels around one that its colour depends on
# A pair (x0, x1) is a ramp: its effect grows from none at x0 to all at x1, see `_ramp`.
_NEAREST = (1 / 255) ** 2  # added to a mean squared difference of luminance, by rule 'nearest'
_EXPOSED = (20 / 255) ** 2  # the same by rule 'exposed'
_DARKEST = 0.02  # luminance from which on chroma grows with it
_CLIPPED = 1.0, 0.7  # value of a channel: how much it tells of the colour
_UNLIT = 0.02, 0.2  # luminance: how much a pixel tells of the colour
_LEAST_TOLD = 0.04  # added to both, for pixels of which no source tells the colour
_FOCAL = 0.7  # gray towards which colours of exposures beyond the gamut move
_COLORFUL = 0.02  # mean difference of the largest and smallest channel from which on an image counts as coloured
_LEAST_CHROMA = 0.7  # share of a warm colour that a fused image keeps
_LEAST_LUMA = 0.95  # share of a bright colour's luminance
_STRUCTURE = 0.15  # share of the luminance beyond that
_MOST_BLUE = 0.2  # Cb that counts against Cr at most
_WARM = 0.04, 0.16  # warmth, Cr less Cb: how warm a colour is
_BRIGHT = 0.6, 0.8  # luminance: how bright a colour is
_TINTED = 0.0, 0.08  # warmth: how warm the tint of a bright colour is
_TINTED_BRIGHT = 0.45, 0.6  # luminance: how bright a colour of a warm tint is
_FAINT = 0.06, 0.35  # largest channel of a functional image: how much of its colour stays
_COLORED, _FEWEST = 0.08, 0.005  # chroma of pixels whose hue counts, and the share of them that an image must have
_ONE_HUE = 0.99  # length of the mean of hues, as directions, of shades of one: no PET or SPECT in two hues has 0.98
_LEAST = 1e-12  # instead of a division by zero
_CB_SCALE, _CR_SCALE = 1.772, 1.402
_G_FROM_CB, _G_FROM_CR = 0.114 * 1.772 / 0.587, 0.299 * 1.402 / 0.587
_WHITES = {"8": np.float32(255), "16": np.float32(65535), "float": None}  # level of white by depth; None: not rounded
_Source = TypeVar("_Source")
Plane = Any  # a value per pixel, an array (H, W), or a tensor (B, 1, H, W) of `adasffuse.export`; of what both can do


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Y of BT.601, (H, W) float32 in [0, 1], of gray (H, W) or RGB (H, W, 3) pixels in [0, 1]."""
    if pixels.ndim == 2:
        return pixels.astype(np.float32, copy=False)
    gray = cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY)
    return np.clip(gray, 0, 1)  # the three weights add up to 1 only up to rounding


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) of gray pixels (H, W) of any type, three times the same; RGB ones as they are."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def rgb_to_ycbcr(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y in [0, 1], Cb and Cr in [-0.5, 0.5], each (H, W) float32, of (H, W, 3) RGB in [0, 1]."""
    y = luminance(rgb)
    return y, *chroma_of(y, rgb[..., 0], rgb[..., 2])


def chroma_of(y: Plane, red: Plane, blue: Plane) -> tuple[Plane, Plane]:
    """Cb and Cr of luminance and two channels."""
    return (blue - y) / _CB_SCALE, (red - y) / _CR_SCALE


def ycbcr_to_rgb(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 RGB, the inverse of `rgb_to_ycbcr`; out of gamut it leaves [0, 1]."""
    return cv2.merge([y + offset for offset in channel_offsets(cb, cr)])


def fit_gamut(y: Plane, cb: Plane, cr: Plane) -> tuple[Plane, Plane]:
    """Shrink (Cb, Cr) towards neutral, hue kept, just until RGB lies in [0, 1]; Y in [0, 1] is never touched."""
    lowest, highest = _extremes(cb, cr)
    scale = _smaller((1 - y) / highest.clip(min=_LEAST), y / (-lowest).clip(min=_LEAST)).clip(max=1.0)
    return cb * scale, cr * scale


def channel_offsets(cb: Plane, cr: Plane) -> tuple[Plane, Plane, Plane]:
    """R, G and B less Y."""
    return _CR_SCALE * cr, -_G_FROM_CB * cb - _G_FROM_CR * cr, _CB_SCALE * cb


def _extremes(cb: Plane, cr: Plane) -> tuple[Plane, Plane]:
    """The least and the largest of R, G and B less Y."""
    red, green, blue = channel_offsets(cb, cr)
    return _smaller(_smaller(red, green), blue), _larger(_larger(red, green), blue)


def _larger(one: Plane, other: Plane) -> Plane:
    return np.maximum(one, other) if isinstance(one, np.ndarray) else one.maximum(other)


def _smaller(one: Plane, other: Plane) -> Plane:
    return np.minimum(one, other) if isinstance(one, np.ndarray) else one.minimum(other)


def rebuild_color(luma: np.ndarray, sources: Sequence[np.ndarray], rule: str, depth: str = "8") -> np.ndarray:
    """The fused image: fused luminance with the sources' chroma.

    By rule 'b' it is the chroma of the second source as it is, by rule 'a' that of the first one, a functional image,
    see `activity_chroma`; by the others a mean of all that have colour, Cb and Cr with one weight, so that hues lie
    between those of the sources.  d is the mean of (Yf - Y)^2 over 3x3 pixels, Yf being the fused luminance and Y that
    of the source.

    'nearest', for focus settings: the weight is 1 / (d + 1/255^2)^2.  So colour comes from the source that the result
    shows, the sharp one, without what a blurred one spreads around things.

    'exposed', for exposures: chroma is multiplied by (Yf / Y)^0.75, as it grows with the exposure in photographs (0.7
    in the median of 12 brackets), and the weight is e / (d + (20/255)^2).  e falls with each channel that is clipped,
    which gives burnt colours, and where the source is nearly black.  Then `make_room` lowers the luminance of colours
    that would fade near white.

    Luminance is then rounded to a level of `depth` before colour is added: the rounded Y of the file is that level.

    Args:
        luma: (H, W) fused luminance; what lies outside [0, 1] is clipped.
        sources: S >= 2 sources in [0, 1], (H, W) or (H, W, 3), of the same height and width.
        rule: one of `COLOR_RULES`.
        depth: of the file that the result is written to, '8', '16' or 'float' (luminance is not rounded).
    Returns:
        float32 in [0, 1], for `quantise` or `write_image`: (H, W, 3) RGB, or (H, W) gray where no source that the
        rule uses has chroma.
    Raises:
        ValueError: unknown rule or depth, fewer than two sources, or heights and widths differ.
    """
    if rule not in COLOR_RULES:
        raise ValueError(f"colour rule must be one of {', '.join(COLOR_RULES)}, got {rule!r}")
    if depth not in _WHITES:
        raise ValueError(f"depth must be '8', '16' or 'float', got {depth!r}")
    if len(sources) < 2:
        raise ValueError(f"rebuild_color needs two or more sources, got {len(sources)}")
    sizes = [luma.shape, *(source.shape[:2] for source in sources)]
    if len(set(sizes)) > 1:
        raise ValueError(f"rebuild_color needs one height and width, got {', '.join(map(str, sizes))}")
    luma = np.clip(luma, 0, 1).astype(np.float32, copy=False)
    givers = color_givers(rule, sources)
    if rule in ("a", "b"):
        if is_gray(givers[0]):
            return with_chroma(luma, None, rule, depth)
        own = activity_chroma(luma, givers[0]) if rule == "a" else rgb_to_ycbcr(givers[0])[1:]
        return with_chroma(luma, own, rule, depth)
    chroma = ChromaMean(rule)
    for source in givers:
        chroma.add(source, luma)
    return with_chroma(luma, chroma.result(), rule, depth)


def color_givers(rule: str, sources: Sequence[_Source]) -> Sequence[_Source]:
    """The sources that give the result its colour by one of `COLOR_RULES`."""
    if rule == "a":
        return sources[:1]
    return sources[1:2] if rule == "b" else sources


class ChromaMean:
    """The chroma (Cb, Cr) of a fused image by rule 'exposed' or 'nearest', which mix those of all sources.

    Sources are added one after the other; one that is gray adds nothing.
    """

    def __init__(self, rule: str) -> None:
        self._rule = rule
        self._sums: tuple[np.ndarray, ...] = ()  # of weight, weight Cb and weight Cr

    def add(self, pixels: np.ndarray, luma: np.ndarray) -> None:
        """Take a source that gives colour, (H, W) or (H, W, 3) in [0, 1], into account; luma: the fused one, (H, W)."""
        if is_gray(pixels):
            return
        own, cb, cr = rgb_to_ycbcr(pixels)
        apart = np.maximum(cv2.blur(np.square(luma - own), (3, 3), borderType=cv2.BORDER_REPLICATE), 0)
        channels = [pixels[..., k] for k in range(3)]
        terms = chroma_terms(self._rule, luma, own, cb, cr, channels, apart)
        if not self._sums:
            self._sums = terms
            return
        for total, term in zip(self._sums, terms):
            total += term

    def result(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Cb and Cr, (H, W) float32; None where no source had colour."""
        if not self._sums:
            return None
        weight, cb, cr = self._sums
        return cb / weight, cr / weight


def chroma_terms(
    rule: str, luma: Plane, own: Plane, cb: Plane, cr: Plane, channels: Sequence[Plane], apart: Plane
) -> tuple[Plane, Plane, Plane]:
    """What a source adds to the mean chroma by rule 'exposed' or 'nearest': weight, weight * Cb and weight * Cr.

    Args:
        luma: the fused luminance.
        own, cb, cr, channels: of the source; its R, G and B.
        apart: d of `rebuild_color`.
    """
    if rule == "nearest":
        weight = 1 / (apart + _NEAREST) ** 2
        return weight, weight * cb, weight * cr
    red, green, blue = (_ramp(one, _CLIPPED) for one in channels)
    told = (red + green + blue) * (1 / 3) + _LEAST_TOLD
    weight = told * (_ramp(own, _UNLIT) + _LEAST_TOLD) / (apart + _EXPOSED)
    root = (luma.clip(min=_DARKEST) / own.clip(min=_DARKEST)) ** 0.5
    grown = weight * root * root**0.5  # the ratio to the power of 0.75, in a tenth of the time
    return weight, grown * cb, grown * cr


def with_chroma(luma: np.ndarray, chroma: tuple[np.ndarray, np.ndarray] | None, rule: str, depth: str) -> np.ndarray:
    """The last part of `rebuild_color`: luminance with a chroma, of the same shapes; arguments and result as there."""
    if rule == "exposed" and chroma is not None:
        luma = make_room(luma, *chroma)
    white = _WHITES[depth]
    level = np.rint(luma * white) if white else luma
    y = level / white if white else luma
    if chroma is None:
        return y
    cb, cr = chroma
    rgb = ycbcr_to_rgb(y, *fit_gamut(luma, cb, cr)).clip(0, 1)
    if white:  # near black and white, clipping what rounding has pushed out of gamut may have moved Y by a level
        moved = np.rint(luminance(np.rint(rgb * white) / white) * white) != level
        if moved.any():
            y, cb, cr = (values[moved][:, None] for values in (y, cb, cr))  # (N, 1)
            rgb[moved] = ycbcr_to_rgb(y, *fit_gamut(y, cb, cr)).clip(0, 1)[:, 0]
    return rgb


def make_room(luma: Plane, cb: Plane, cr: Plane) -> Plane:
    """Luminance, lowered where a colour is brighter than the gamut allows, so that less of its chroma is lost.

    At the fused luminance shrinking chroma alone would turn yellow white and the light of lamps pink.  So the colour
    moves on a straight line towards a gray of `_FOCAL`, hue kept, until its highest channel is 1.  This shares the
    change between luminance and chroma, is continuous, and keeps the order of luminances; in gamut, and up to that
    gray, nothing changes.

    Args:
        luma: in [0, 1].
    Returns:
        luminance at which `fit_gamut` then leaves that chroma.
    """
    _, highest = _extremes(cb, cr)
    over = (luma + highest - 1).clip(min=0.0)
    return luma - (luma - _FOCAL).clip(min=0.0) * over / (over + (1 - _FOCAL))


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the channels of an image, (H, W) or (H, W, 3), are all equal."""
    if pixels.ndim == 2:
        return True
    red, green, blue = (pixels[..., k] for k in range(3))  # whole planes: a fifth of the time of channel by channel
    return bool((red == green).all() and (green == blue).all())


def activity_chroma(luma: np.ndarray, functional: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cb and Cr, (H, W) float32, that a PET or SPECT image gives a fused image: its own times `activity_share`.

    Args:
        luma: (H, W) fused luminance in [0, 1].
        functional: (H, W, 3) RGB in [0, 1].
    """
    own, cb, cr = rgb_to_ycbcr(functional)
    kept = activity_share(luma, own, [functional[..., k] for k in range(3)])
    return kept * cb, kept * cr


def activity_share(luma: Plane, own: Plane, channels: Sequence[Plane]) -> Plane:
    """The share of its chroma, at most 1, that a PET or SPECT image gives a fused image.

    What is nearly black holds hardly any activity, but its chroma, as it is, would tint bright tissue: noise of a few
    levels of blue shows as specks on bone.  So the less the largest channel, see `_FAINT`, the less chroma grows beyond
    its share of the luminance, which it may keep.  What gives the fused image its luminance keeps all of its chroma.

    Args:
        luma: fused luminance in [0, 1].
        own, channels: luminance, and R, G and B of the functional image, in [0, 1].
    """
    red, green, blue = channels
    told = _ramp(_larger(_larger(red, green), blue), _FAINT)
    return _larger(told, ((own + _DARKEST) / luma.clip(min=_DARKEST)).clip(max=1.0))


def keep_hot_spots(luma: np.ndarray, functional: np.ndarray) -> np.ndarray:
    """`hot_spots_kept` of fused luminance (H, W) and the first source, (H, W) or (H, W, 3) RGB, both in [0, 1]."""
    if functional.ndim == 2:
        neutral = np.zeros_like(functional)
        return hot_spots_kept(luma, functional, neutral, neutral)
    return hot_spots_kept(luma, *rgb_to_ycbcr(functional))


def hot_spots_kept(luma: Plane, own: Plane, cb: Plane, cr: Plane) -> Plane:
    """Luminance at which high activity in a PET or SPECT image stays visible, and what is dense in a CT image.

    In the colour maps of PET and SPECT red, orange and, at the top, magenta or white stand for high activity.  Red and
    magenta are darker than bright tissue, with whose luminance nothing of them would be left; white and pale yellow
    turn gray and olive where dark tissue gives the luminance, and white spots of gray images are lost beside brighter
    tissue.  So where a colour is warm, the luminance is moved towards what leaves `_LEAST_CHROMA` of the chroma in
    gamut, and where it is bright, towards `_LEAST_LUMA` of its own luminance.  Warm tints count as bright sooner, since
    between orange and white the less colour there is the more activity it tells.  Of what goes beyond, `_STRUCTURE`
    stays, and with it that of the tissue.  Other colours change nothing, dark purple among them: in most maps it is
    cold.

    Args:
        luma: fused luminance in [0, 1].
        own, cb, cr: of the functional image, the first source, which gives the result its chroma; 0 of a gray one.
    """
    warmth = cr - cb.clip(0.0, _MOST_BLUE)  # bounds of one type, as ONNX wants them
    bright = _larger(_ramp(own, _BRIGHT), _ramp(warmth, _TINTED) * _ramp(own, _TINTED_BRIGHT))
    least = _LEAST_CHROMA * _ramp(warmth, _WARM)
    lowest, highest = _extremes(cb, cr)
    darkest = _larger(-least * lowest, _LEAST_LUMA * own * bright)
    limited = _smaller(_larger(luma, darkest), 1 - least * highest)
    return limited + _STRUCTURE * (luma - limited)


def in_one_cold_hue(pixels: np.ndarray) -> bool:
    """Whether an image, (H, W) or (H, W, 3) in [0, 1] or of levels, is in shades of one colour that is never hot.

    Such blue, green or purple is nothing that `keep_hot_spots` keeps, and its brightest channel tells the activity.
    Every fourth pixel is looked at.
    """
    if pixels.ndim == 2:
        return False
    some = pixels[::2, ::2]
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    y, cb, cr = rgb_to_ycbcr(some / np.float32(white))
    chroma = np.hypot(cb, cr)
    colored = chroma > _COLORED
    if colored.mean() < _FEWEST or y.max() > _BRIGHT[0]:
        return False
    mean = np.hypot(cb[colored].sum(), cr[colored].sum()) / chroma[colored].sum()
    return bool(mean > _ONE_HUE and (cr - np.clip(cb, 0, _MOST_BLUE)).max() < sum(_WARM) / 2)


def _ramp(x: Plane, ends: tuple[float, float]) -> Plane:
    """Linear from 0 at the first end to 1 at the second, which may be the lower one; constant beyond both."""
    first, second = ends
    return ((x - first) * (1 / (second - first))).clip(0.0, 1.0)


def is_colorful(pixels: np.ndarray) -> bool:
    """Whether an image, (H, W) or (H, W, 3) in [0, 1] or of levels, is more than tinted; looks at every 16th pixel."""
    if pixels.ndim == 2:
        return False
    some = pixels[::4, ::4]
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return float(np.mean(some.max(axis=2) - some.min(axis=2))) > _COLORFUL * white
