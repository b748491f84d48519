"""False colours: temperatures behind those of cameras, and activity of PET and SPECT in colours.

In the palettes 'jet' and 'turbo' luminance does not rise with temperature, hot is dark red.  Of other palettes of
thermal cameras, such as ironbow, it rises, and serves.
"""

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from adasffuse.choices import PALETTES
from adasffuse.images.color import in_one_cold_hue, is_gray
from adasffuse.images.image import Image, ImageError
from adasffuse.images.levels import expanded
from adasffuse.images.plane import modality_of
from adasffuse.tasks import Task

_PALETTES = {"jet": cv2.COLORMAP_JET, "turbo": cv2.COLORMAP_TURBO}  # matplotlib's are nearly the same
_SHOWN_IN = {"hot": cv2.COLORMAP_HOT, "inferno": cv2.COLORMAP_INFERNO}
# An image is in a palette if most of its colours are near to one of the palette's; distances are in RGB, 0..255.
_NEAR = 45  # distance up to which a colour is near: JPEG moves colours
_MOST = 0.9  # least share of near colours; images in a palette, as JPEG of quality 50, have 0.93 and more
_USUAL = 15  # largest median of the distances; images in a palette, as JPEG of quality 30, have 13 and less
_LOOKED_AT = 1024  # pixels
_STEP = 8  # levels per cell of the table in which colours are looked up
_IN_A_ROW = 16  # frames in colour that change the palette of a sequence


FindPalette = Callable[[np.ndarray, np.ndarray | None], str | None]  # such as `palette_of`


def palette_of(pixels: np.ndarray, valid: np.ndarray | None = None) -> str | None:
    """The palette, 'jet' or 'turbo', that gives nearly all colours of an image; None for none of them.

    Other palettes share colours with these in another order: the red that is hot in 'jet' is cold in 'hot'.  So the
    palette must also be nearer than all others of OpenCV.

    Args:
        pixels: (H, W) or (H, W, 3) RGB, uint8, uint16 or float32 in [0, 1].
        valid: (H, W) bool, where there is data.
    """
    if pixels.ndim == 2 or is_gray(pixels):
        return None
    colors = pixels.reshape(-1, 3) if valid is None else pixels[valid]
    colors = _levels(colors[:: max(1, len(colors) // _LOOKED_AT)]).astype(np.float32)
    means = {}
    for name, number in _PALETTES.items():
        distance = _distances(colors, number)
        if np.median(distance) <= _USUAL and np.mean(distance < _NEAR) >= _MOST:
            means[name] = distance.mean()
    if not means:
        return None
    name = min(means, key=means.get)
    others = set(_all_palettes()) - set(_PALETTES.values())
    return None if any(_distances(colors, number).mean() < means[name] for number in others) else name


class SteadyPalette:
    """`palette_of` for the frames of a sequence: that of the first one in colour, until 16 in a row have another one.

    Where a logo or a scale is shown beside the scene, colours are hardly near enough to a palette, or hardly not.
    Frames that are read now in one order and now in the other would flicker.
    """

    def __init__(self) -> None:
        self._palette: str | None = None
        self._last: deque[str | None] = deque(maxlen=_IN_A_ROW)

    def __call__(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> str | None:
        """The palette of the next frame, None for none; arguments as of `palette_of`."""
        if pixels.ndim == 2 or is_gray(pixels):
            return None
        found = palette_of(pixels, valid)
        self._last.append(found)
        if len(self._last) == 1 or self._last.count(found) == _IN_A_ROW:
            self._palette = found
        return self._palette


def palette_places(pixels: np.ndarray, palette: str) -> np.ndarray:
    """Places of an image's colours in a palette, the coldest 0, (H, W): uint8, or float32 in [0, 1], as the pixels."""
    cells = _levels(pixels) // _STEP
    places = _table(palette)[cells[..., 0], cells[..., 1], cells[..., 2]]
    return places if pixels.dtype == np.uint8 else np.divide(places, np.float32(255), dtype=np.float32)


def in_false_colors(values: np.ndarray, palette: str) -> np.ndarray:
    """Gray values in the colours of 'hot' or 'inferno', whose luminance rises with the value; 0 is black.

    Args:
        values: (H, W) float32 in [0, 1].
    Returns:
        (H, W, 3) float32 RGB in [0, 1].
    """
    colors = _colors(_SHOWN_IN[palette]) / np.float32(255)
    colors[0] = 0
    steps = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(values, steps, channel) for channel in colors.T], axis=2).astype(np.float32)


def check_palette(palette: str, task: Task) -> None:
    """Raise ValueError for a word that is not in PALETTES, or where a task has no source for false colours."""
    if palette not in PALETTES:
        raise ValueError(f"palette is one of {', '.join(PALETTES)}, got {palette!r}")
    if palette != "none" and task.color != "a":
        raise ValueError(f"palette {palette} is for PET or SPECT + MRI (mif), got task {task.id}")


def check_modality(name: str | Path, palette: str, modality: str) -> None:
    """Raise ImageError where a palette is asked for and the image called `name` is a CT, which shows no activity.

    Args:
        modality: DICOM's word, such as 'CT' or 'PT'; '' where it is not known.
    """
    if palette != "none" and modality == "CT":
        raise ImageError(f"{name}: is a CT, and palette {palette} is for the activity in PET and SPECT; leave it out")


def in_palette(image: Image, palette: str, name: str | Path) -> Image:
    """A gray PET or SPECT image in false colours, see `in_false_colors`; as it is for palette 'none'.

    Of one in shades of one colour, see `in_one_cold_hue`, the brightest channel is taken.

    Raises:
        ImageError: the image, called `name`, has colour already, or its file says that it is a CT.
    """
    if palette == "none":
        return image
    if not is_gray(image.pixels) and not in_one_cold_hue(image.pixels):
        raise ImageError(f"{name}: has colour already, and palette {palette} is for gray images; leave it out")
    check_modality(name, palette, modality_of(image))
    values = expanded(image.pixels)
    if values.ndim == 3:
        values = values.max(axis=2)
    return replace(image, pixels=in_false_colors(values, palette))


def _levels(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8, of uint8, uint16 or float32 in [0, 1]."""
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels * np.float32(255)).astype(np.uint8)


def _all_palettes() -> list[int]:
    """OpenCV's numbers of its palettes."""
    return sorted({getattr(cv2, name) for name in dir(cv2) if name.startswith("COLORMAP_")})


def _distances(colors: np.ndarray, number: int) -> np.ndarray:
    """The distances of colours, (N, 3) in 0..255, to the nearest colour of a palette, (N,)."""
    palette = _colors(number)
    # |c - p|^2 = |p|^2 - 2 c p + |c|^2, of which the last term is the same for all p.
    nearest = (np.square(palette).sum(axis=1) - 2 * colors @ palette.T).min(axis=1)
    return np.sqrt((nearest + np.square(colors).sum(axis=1)).clip(0))


def _colors(number: int) -> np.ndarray:
    """The 256 colours of a palette, (256, 3) float32 RGB in 0..255."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return cv2.applyColorMap(ramp, number)[0, :, ::-1].astype(np.float32)


@functools.cache
def _table(palette: str) -> np.ndarray:
    """The place in a palette of the colour nearest to the middle of each cell, (32, 32, 32) uint8 by R, G and B."""
    colors = _colors(_PALETTES[palette])
    middles = np.arange(_STEP / 2, 256, _STEP, dtype=np.float32)
    cells = np.stack(np.meshgrid(middles, middles, middles, indexing="ij"), axis=-1)
    places = [np.square(plane[..., None, :] - colors).sum(axis=-1).argmin(axis=-1) for plane in cells]
    return np.stack(places).astype(np.uint8)
