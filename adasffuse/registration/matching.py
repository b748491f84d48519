"""Matching patches of two images by the correlation of their edge features, for all small displacements.

The displacements are made consistent as in Heinrich, Papiez, Schnabel, Handels, "Non-parametric discrete registration
with convex optimisation", WBIR 2014, doi:10.1007/978-3-319-08554-8_6: each patch takes its best displacement near the
model's, the model (a matrix or a smooth field) is fitted to these, and both steps are repeated with a stronger pull
towards the model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

_PULLS = (0.0, 0.003, 0.01, 0.03, 0.1)  # weight of the squared distance (pixels) to the model, step by step
_SMALLEST_CURVATURE = 1e-3
_PEAK_WIDTH = 3  # pixels
_FLOOR = 0.02  # energy of a patch without content


@dataclass(frozen=True)
class Match:
    """Best displacements of a grid of patches, in pixels of the matched images."""

    displacement: np.ndarray  # (rows, columns, 2), x then y: position p in B is p + displacement in A
    certainty: np.ndarray  # (rows, columns, 2, 2), curvature of the correlation there; 0 for a patch without content


class Correlation:
    """Correlation of each patch of B with A, for all displacements of at most `radius` pixels.

    Args:
        a, b: (C, H, W) edge features, see `adasffuse.registration.features`.
        radius: pixels.
        cell: pixels between the centers of patches; a patch is a Gaussian window of about three cells.
        spread: standard deviation of the window, in cells.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, radius: int, cell: int, spread: float = 1.0) -> None:
        height, width = b.shape[1:]
        self.radius = radius
        self.rows, self.columns = max(1, round(height / cell)), max(1, round(width / cell))
        x = (np.arange(self.columns) + 0.5) * width / self.columns - 0.5
        y = (np.arange(self.rows) + 0.5) * height / self.rows - 0.5
        self.centers = np.stack(np.meshgrid(x, y), axis=-1)  # (rows, columns, 2), pixels

        rows, columns = _pooling(height, self.rows, spread), _pooling(width, self.columns, spread)

        def pooled(energy: np.ndarray) -> np.ndarray:
            return rows @ (energy @ columns.T)

        side = 2 * radius + 1
        padded = np.pad(a, ((0, 0), (radius, radius), (radius, radius)))
        of_b = pooled(np.einsum("chw,chw->hw", b, b))
        of_a = _shifted(rows, side) @ np.einsum("chw,chw->hw", padded, padded) @ _shifted(columns, side).T
        of_a = of_a.reshape(side, self.rows, side, self.columns).transpose(1, 3, 0, 2)
        product = np.empty((side, height, width), np.float32)
        self.gain = np.empty((self.rows, self.columns, side, side), np.float32)
        for j in range(side):
            for i in range(side):
                np.einsum("chw,chw->hw", padded[:, j : j + height, i : i + width], b, out=product[i])
            self.gain[:, :, j] = pooled(product).transpose(1, 2, 0)
        of_b = of_b[..., None, None]
        self.gain *= of_b / np.sqrt((of_a + _FLOOR) * (of_b + _FLOOR))  # weighted by the energy of the patch of B

    def best(self, near: np.ndarray, weight: float) -> Match:
        """The displacements of highest gain minus `weight` times the squared distance to `near` (rows, columns, 2)."""
        r, side = self.radius, 2 * self.radius + 1
        steps = np.arange(-r, r + 1, dtype=np.float32)
        far_x = np.square(steps - near[..., :1].clip(-r, r))  # (rows, columns, side)
        far_y = np.square(steps - near[..., 1:].clip(-r, r))
        gain = self.gain - weight * (far_y[..., :, None] + far_x[..., None, :])
        inner = gain[:, :, 1:-1, 1:-1].reshape(self.rows, self.columns, -1)
        at = inner.argmax(axis=-1)
        j, i = at // (side - 2) + 1, at % (side - 2) + 1
        q, p = np.mgrid[: self.rows, : self.columns]

        def value(dj: int, di: int) -> np.ndarray:
            return self.gain[q, p, j + dj, i + di].astype(np.float64)

        gx = (value(0, 1) - value(0, -1)) / 2
        gy = (value(1, 0) - value(-1, 0)) / 2
        center = value(0, 0)
        hxx = 2 * center - value(0, 1) - value(0, -1)
        hyy = 2 * center - value(1, 0) - value(-1, 0)
        hxy = -(value(1, 1) + value(-1, -1) - value(1, -1) - value(-1, 1)) / 4
        certainty = _positive(np.stack([np.stack([hxx, hxy], -1), np.stack([hxy, hyy], -1)], -2))
        whole = certainty + (_SMALLEST_CURVATURE + weight) * np.eye(2)
        base = np.stack([i - r, j - r], -1).astype(np.float64)
        pull = np.stack([gx, gy], -1) + weight * (near - base)
        step = np.linalg.solve(whole, pull[..., None])[..., 0]
        return Match(base + step.clip(-0.75, 0.75), certainty)

    def common_shift(self) -> np.ndarray:
        """The displacement, x then y in whole pixels, at which all patches together agree best."""
        total = self.gain.mean(axis=(0, 1))[1:-1, 1:-1]
        j, i = np.unravel_index(total.argmax(), total.shape)
        return np.array([i + 1.0 - self.radius, j + 1.0 - self.radius])

    def peak(self) -> float:
        """Height of the peak of the total gain over all patches.

        That is the difference to the mean of gains more than 3 pixels away, in standard deviations of these.
        """
        total = self.gain.mean(axis=(0, 1), dtype=np.float64)
        j, i = np.unravel_index(total.argmax(), total.shape)
        y, x = np.mgrid[: total.shape[0], : total.shape[1]]
        around = total[np.hypot(x - i, y - j) > _PEAK_WIDTH]
        return float((total[j, i] - around.mean()) / max(around.std(), 1e-12))


def prominence(a: np.ndarray, b: np.ndarray, radius: int) -> float:
    """Difference of the correlation of two images to that of shifted images, in standard deviations of the latter.

    The shifts are all those of up to `radius` pixels, by Fourier transform: many independent ones are needed to tell a
    match from the best of many wrong positions.

    Args:
        a, b: (C, H, W) features of registered images.
        radius: pixels, at most a third of a side.
    """
    height, width = b.shape[1:]
    r = min(radius, height // 3, width // 3)
    size = [cv2.getOptimalDFTSize(side + r) for side in (height, width)]
    spectra = [np.fft.rfft2(one, size) for one in (a, b)]
    total = np.fft.irfft2((spectra[0] * spectra[1].conj()).sum(axis=0), size)
    shifts = np.arange(-r, r + 1)
    total = total[np.ix_(shifts, shifts)]
    around = total[np.hypot(shifts[:, None], shifts) > _PEAK_WIDTH]
    return float((total[r, r] - around.mean()) / max(around.std(), 1e-12))


def _pooling(length: int, count: int, spread: float) -> np.ndarray:
    """(count, length) weights of the pixels in each cell: the cell's mean, smoothed by a Gaussian over cells."""
    cells = cv2.resize(np.eye(length, dtype=np.float32), (length, count), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(cells, (1, 0), 1e-3, sigmaY=spread, borderType=cv2.BORDER_CONSTANT)


def _shifted(weights: np.ndarray, side: int) -> np.ndarray:
    """The weights at each shift of 0 to `side` - 1 pixels: (side * count, length + side - 1)."""
    count, length = weights.shape
    shifted = np.zeros((side, count, length + side - 1), np.float32)
    for shift in range(side):
        shifted[shift, :, shift : shift + length] = weights
    return shifted.reshape(side * count, -1)


def _positive(matrices: np.ndarray) -> np.ndarray:
    """Symmetric 2 x 2 matrices with their negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh(matrices)
    return np.einsum("...ij,...j,...kj->...ik", vectors, values.clip(0), vectors)


def consistent(
    correlation: Correlation, model: Callable[[Match, np.ndarray], np.ndarray], start: np.ndarray
) -> np.ndarray:
    """Displacements (rows, columns, 2) of a model that is fitted to the patches.

    Args:
        model: takes matches and the previous displacements, returns fitted ones.
        start: (rows, columns, 2).
    """
    fitted = start
    for pull in _PULLS:
        fitted = model(correlation.best(fitted, pull), fitted)
    return fitted
