"""Fusion quality from phase congruency (QP).  Images are float64 (H, W) on 0..255.

To save memory, everything but the Fourier transforms works on strips of rows; only the transforms and the sums over
orientations are kept whole.
"""

import numpy as np
import scipy.fft
from numpy import ndarray

from adasffuse.metrics.windows import filter_same, gaussian, strips

_SCALES, _ORIENTATIONS = 4, 6
_EPSILON = 1e-4  # against division by 0, as in Kovesi's code, whose defaults all constants here are
_GAUSSIAN_11 = gaussian(11, 1.5)
_RADIUS = len(_GAUSSIAN_11) // 2


def phase_congruency_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """QP, product of the local correlations of F's phase congruency and its two moments with the sources'.

    Zhao, Laganiere and Liu, Int. J. Innovative Computing, Information and Control 3(6A), 2007, 1433-1447, on Kovesi's
    phase congruency (4 scales, 6 orientations).  Windows are 11x11 Gaussians, features are pixels of phase congruency
    above 0.1, and the best of A, B and their maximum counts.  At most about 1, higher is better.  Blind to contrast and
    brightness.  NaN if no source has a feature or an image is flat.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where no source has a feature or an image is flat.
    """
    filters = _LogGabor(fused.shape)
    maps_a, maps_b, maps_f = (phase_congruency(image, filters) for image in (a, b, fused))
    height, features = len(fused), 0
    sums = np.zeros(len(maps_f))
    for rows in strips(height):
        around = slice(max(rows.start - _RADIUS, 0), min(rows.stop + _RADIUS, height))
        inner = slice(rows.start - around.start, rows.stop - around.start)
        phase_a, phase_b = maps_a[0][around], maps_b[0][around]
        from_a = phase_a > phase_b
        masks = [phase_a > 0.1, phase_b > 0.1, np.where(from_a, phase_a, phase_b) > 0.1]
        features += int(masks[2][inner].sum())
        for k in range(len(maps_f)):  # phase congruency, and its two moments
            map_a, map_b, map_f = (maps[k][around] for maps in (maps_a, maps_b, maps_f))
            candidates = (map_a, map_b, np.where(from_a, map_a, map_b))
            similar = [_similarity(mask * source, map_f) * mask for mask, source in zip(masks, candidates)]
            sums[k] += np.max(similar, axis=0)[inner].sum()
    return float(np.prod(sums / features)) if features else float("nan")


def phase_congruency(image: ndarray, filters: "_LogGabor") -> tuple[ndarray, ndarray, ndarray]:
    """Phase congruency, and the maximum and minimum moment of its covariance over six orientations (Kovesi).

    Args:
        image: (H, W) float64.
        filters: filters of this size.
    Returns:
        Three maps (H, W); phase congruency lies in 0..1.
    """
    spectrum = scipy.fft.fft2(image)
    responses = np.empty((_SCALES, *image.shape), complex)  # of one orientation, in the same memory for each
    energies, amplitudes, xx, yy, xy = (np.zeros(image.shape) for _ in range(5))
    for orientation in range(_ORIENTATIONS):
        for rows in strips(len(image)):
            for response, band in zip(responses, filters.bands(orientation, rows)):
                np.multiply(spectrum[rows], band, out=response[rows])
        for response in responses:
            response[:] = scipy.fft.ifft2(response, overwrite_x=True)
        threshold = filters.threshold(orientation, responses[0])
        angle = orientation * np.pi / _ORIENTATIONS
        for rows in strips(len(image)):
            energy, amplitude = _oriented_energy(responses[:, rows], threshold)
            energies[rows] += energy
            amplitudes[rows] += amplitude
            with np.errstate(divide="ignore", invalid="ignore"):
                congruency = energy / amplitude
            x, y = congruency * np.cos(angle), congruency * np.sin(angle)
            xx[rows] += x * x
            yy[rows] += y * y
            xy[rows] += x * y
    del spectrum, responses
    for rows in strips(len(image)):  # the maps replace the sums, in place
        energies[rows] /= amplitudes[rows] + _EPSILON
        x2, y2 = xx[rows] * 2 / _ORIENTATIONS, yy[rows] * 2 / _ORIENTATIONS
        spread = np.sqrt((xy[rows] / _ORIENTATIONS) ** 2 + (x2 - y2) ** 2) + _EPSILON
        xx[rows], yy[rows] = (y2 + x2 + spread) / 2, (y2 + x2 - spread) / 2
    return energies, xx, yy


def _oriented_energy(responses: ndarray, threshold: float) -> tuple[ndarray, ndarray]:
    """Energy above the noise weighted by frequency spread, and the sum of amplitudes, of one orientation."""
    sizes = np.abs(responses)
    amplitude = sizes.sum(axis=0)
    mean = responses.sum(axis=0)
    mean /= np.abs(mean) + _EPSILON
    energy = 0
    for response in responses:
        turned = response * mean.conj()  # real part: along the mean phase, imaginary part: across
        energy = energy + turned.real - np.abs(turned.imag)
    width = amplitude / (sizes.max(axis=0) + _EPSILON) / _SCALES
    return np.maximum(energy - threshold, 0) / (1 + np.exp((0.5 - width) * 10)), amplitude


class _LogGabor:
    """Log-Gabor filters of 4 scales and 6 orientations, zero frequency first, computed in strips of rows.

    Args:
        shape: height and width of the images.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        y, x = (_frequencies(n) for n in shape)
        radius = np.hypot(y[:, None], x)
        radius[0, 0] = 1
        self._log_radius = np.log(radius, out=radius)
        self._theta = np.arctan2(-y[:, None], x)
        self._low_pass = _low_pass(shape)
        self._noise = [self._noise_scale(orientation) for orientation in range(_ORIENTATIONS)]

    def bands(self, orientation: int, rows: slice) -> list[ndarray]:
        """Rows of the filters of all scales, in one orientation."""
        turn = self._theta[rows] - orientation * np.pi / _ORIENTATIONS
        turn -= 2 * np.pi * np.rint(turn / (2 * np.pi))
        spread = np.exp(-(turn**2) / (2 * (np.pi / _ORIENTATIONS / 1.2) ** 2)) * self._low_pass[rows]
        if rows.start == 0:
            spread[0, 0] = 0
        wavelengths = (3 * 2.1**scale for scale in range(_SCALES))  # pixels
        logs = (self._log_radius[rows] + np.log(wavelength) for wavelength in wavelengths)
        return [np.exp(-(log**2) / (2 * np.log(0.55) ** 2)) * spread for log in logs]

    def threshold(self, orientation: int, finest: ndarray) -> float:
        """Noise threshold of the energy: mean + 2 standard deviations of a Rayleigh distribution, over 1.7 (Kovesi).

        The distribution's parameter is estimated from the median response of the finest scale.
        """
        power = np.abs(finest)
        power *= power
        rayleigh = np.sqrt(-np.median(power, overwrite_input=True) / np.log(0.5) * self._noise[orientation])
        return rayleigh * (np.sqrt(np.pi / 2) + 2 * np.sqrt(2 - np.pi / 2)) / 1.7

    def _noise_scale(self, orientation: int) -> float:
        """Power of the real part of the summed filters' impulse response, over the power of the finest filter."""
        finest, total = 0.0, np.empty(self._theta.shape, complex)
        for rows in strips(len(total)):
            bands = self.bands(orientation, rows)
            finest += np.sum(bands[0] ** 2)
            total[rows] = sum(bands)
        impulse = scipy.fft.ifft2(total, overwrite_x=True).real
        return np.einsum("ij,ij->", impulse, impulse) * impulse.size / finest


def _frequencies(n: int) -> ndarray:
    """Frequencies in -0.5..0.5, zero first; an odd number of them reaches both ends, as in Kovesi's code."""
    return scipy.fft.fftfreq(n) if n % 2 == 0 else scipy.fft.ifftshift(np.arange(n) - n // 2) / max(n - 1, 1)


def _low_pass(shape: tuple[int, int]) -> ndarray:
    """Butterworth low-pass 1 / (1 + (r / 0.45)^30).

    Shifted by fftshift, as in Kovesi's code: for odd sizes its centre is one step away from zero frequency.
    """
    y, x = np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij")
    return scipy.fft.fftshift(1 / (1 + (np.hypot(x, y) / 0.45) ** 30))


def _similarity(x: ndarray, y: ndarray) -> ndarray:
    """(cov + C) / (sigma_x sigma_y + C) in 11x11 Gaussian windows, zeros around, C = 0.0001."""

    def mean(z: ndarray) -> ndarray:
        return filter_same(z, _GAUSSIAN_11, _GAUSSIAN_11)

    mx, my = mean(x), mean(y)
    covariance, variance_x, variance_y = mean(x * y) - mx * my, mean(x * x) - mx * mx, mean(y * y) - my * my
    return (covariance + 1e-4) / (np.sqrt(np.abs(variance_x * variance_y)) + 1e-4)
