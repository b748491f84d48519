"""Tones that the result of exposures loses although a source shows them."""

from dataclasses import dataclass

from numpy import ndarray


@dataclass(frozen=True)
class Tone:
    """Levels of luminance, 0..255 and both ends included."""

    shown: tuple[int, int]  # within which a source shows a pixel
    lost: tuple[int, int]  # in which a pixel of the result is lost


TONES = {
    "clipped_highlights": Tone((20, 235), (254, 255)),
    "lost_shadows": Tone((60, 200), (0, 24)),
}


def lost_tone(a: ndarray, b: ndarray, fused: ndarray, tone: Tone) -> float:
    """Share of the pixels of F that are lost, of those that A or B shows.

    0..1, lower is better; 0 where no source shows a pixel.  Definition of this project.  Rewards any F of middle
    levels: blind to whether a tone is that of a source.

    Args:
        a, b, fused: (H, W) luminance on 0..255.
    Returns:
        The share.
    """
    shown = _within(a, tone.shown) | _within(b, tone.shown)
    return float(_within(fused, tone.lost)[shown].mean()) if shown.any() else 0.0


def _within(levels: ndarray, bounds: tuple[int, int]) -> ndarray:
    return (levels >= bounds[0]) & (levels <= bounds[1])
