"""Noise of a camera, estimated from an image itself and taken away where nothing else is to be seen.

An image is cut into bands of fine, middle and coarse detail.  The noise in each band is estimated in the calmest cells
without coarse structure: so noise that spans several pixels, as of enlarged thermal images, counts as well, and the
texture of asphalt and grass does not.  A band is then weakened by the share that noise has in its local energy: in a
flat sky to nothing, at an edge not at all.  That is the filter of Lee (doi:10.1109/TPAMI.1980.4766994), band by band.
"""

from itertools import pairwise

import cv2
import numpy as np

from adasffuse.images.levels import made_in_bands

_SIGMAS = (1.0, 2.0, 4.0)  # pixels, of the Gaussians between the bands
_WINDOW = 7  # pixels, in which local energy is taken
_MARGIN = 20  # pixels around one that its value depends on: 16 of the widest Gaussian, 3 of the window
_CELL = 16  # pixels per side of the cells that tell the noise
_CALMEST = 0.02  # quantile of their energy that tells how calm a cell can be
_AS_CALM = 3.0  # times that energy, up to which cells may show noise alone
_QUARTER = 0.25  # of these cells, the calmest ones, are taken: structure adds to the others
_FEWEST = 8  # such cells, below which nothing is known
_OVER = 1.5  # times the estimated energy of noise that is taken away: the cells are the calmest, and windows vary
_CLIPPED = 1.5 / 255  # values this close to black and white show no noise
_CLIPPED_SHARE = 0.05  # of a cell that tells nothing
_WINDOWS, _SIDE = 8, 256  # of larger images so many windows per side are looked at, of so many pixels


def denoised(luma: np.ndarray, amount: float) -> np.ndarray:
    """Luminance without its noise, (H, W) float32 in [0, 1].

    Args:
        luma: (H, W) float32 in [0, 1].
        amount: 0 to 1, how much of what is taken for noise goes.
    """
    if amount == 0:
        return luma
    levels = noise_levels(luma)

    def part(rows: slice) -> np.ndarray:
        values = luma[rows].copy()
        for band, level in zip(_bands(luma[rows]), levels):
            energy = cv2.blur(band * band, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)
            share = np.float32(_OVER * level**2) / np.maximum(energy, np.float32(1e-12))
            values -= np.float32(amount) * np.minimum(share, 1) * band
        return np.clip(values, 0, 1, out=values)

    return made_in_bands(luma.shape, _MARGIN, part)


def noise_levels(luma: np.ndarray) -> np.ndarray:
    """Standard deviation of the noise in the bands of luminance (H, W) in [0, 1], from fine to coarse, (3,).

    0 where too little of the image is without structure to tell.
    """
    cells = np.concatenate([_cell_energies(window) for window in _windows(luma)], axis=1)
    if cells.shape[1] < _FEWEST:
        return np.zeros(len(_SIGMAS))
    energies = cells.sum(axis=0)  # of all bands
    calm = energies <= _AS_CALM * np.quantile(energies, _CALMEST)
    calmest = energies <= np.quantile(energies[calm], _QUARTER)
    return np.sqrt(cells[:, calm & calmest].mean(axis=1))


def _windows(luma: np.ndarray) -> list[np.ndarray]:
    """The image, or of a large one parts spread evenly over it."""
    if luma.size <= (_WINDOWS * _SIDE) ** 2:
        return [luma]
    shares = np.arange(_WINDOWS) / (_WINDOWS - 1)
    tops, lefts = (np.rint(shares * max(0, side - _SIDE)).astype(int) for side in luma.shape)
    return [luma[top : top + _SIDE, left : left + _SIDE] for top in tops for left in lefts]


def _cell_energies(luma: np.ndarray) -> np.ndarray:
    """Mean square of each band in the cells without structure or clipped values, (3, cells)."""
    height, width = luma.shape
    size = (max(1, width // _CELL), max(1, height // _CELL))
    energies = [cv2.resize(band * band, size, interpolation=cv2.INTER_AREA) for band in _bands(luma)]
    clipped = ((luma <= _CLIPPED) | (luma >= 1 - _CLIPPED)).astype(np.float32)
    calm = cv2.resize(clipped, size, interpolation=cv2.INTER_AREA) < _CLIPPED_SHARE
    calm &= energies[-1] <= energies[0]  # noise is finer than what a scene shows
    return np.stack([energy[calm] for energy in energies])


def _bands(luma: np.ndarray) -> list[np.ndarray]:
    """Detail finer than the first Gaussian, and between one Gaussian and the next."""
    smooth = [luma]
    smooth += [cv2.GaussianBlur(luma, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for sigma in _SIGMAS]
    return [fine - coarse for fine, coarse in pairwise(smooth)]
