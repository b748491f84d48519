"""Fusion quality from phase congruency (QP).  Images are float64 (H, W) on 0..255."""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy import ndarray

from adasffuse.metrics.windows import filter_same, gaussian

_SCALES, _ORIENTATIONS = 4, 6
_EPSILON = 1e-4
_GAUSSIAN_11 = gaussian(11, 1.5)


def phase_congruency_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """QP, product of the local correlations of F's phase congruency and its two moments with the sources'.

    Zhao, Laganiere and Liu, Int. J. Innovative Computing, Information and Control 3(6A), 2007, 1433-1447, on Kovesi's
    phase congruency (4 scales, 6 orientations); windows are 11x11 Gaussians, features those above 0.1, and the best of
    A, B and their maximum counts.  At most about 1, higher is better.  Blind to contrast and brightness.  NaN where no
    source has a feature or an image is flat.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where no source has a feature or an image is flat.
    """
    (phase_a, *moments_a), (phase_b, *moments_b), maps_f = (phase_congruency(image) for image in (a, b, fused))
    from_a = phase_a > phase_b
    masks = [phase_a > 0.1, phase_b > 0.1, np.where(from_a, phase_a, phase_b) > 0.1]
    if not masks[2].any():
        return float("nan")
    product = 1.0
    for of_a, of_b, of_f in zip((phase_a, *moments_a), (phase_b, *moments_b), maps_f):
        strongest = np.where(from_a, of_a, of_b)
        similar = [_similarity(mask * of, of_f) * mask for mask, of in zip(masks, (of_a, of_b, strongest))]
        product *= float(np.max(similar, axis=0).sum() / masks[2].sum())
    return product


def phase_congruency(image: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Phase congruency, and the maximum and minimum moment of its covariance over six orientations (Kovesi).

    Args:
        image: (H, W) float64.
    Returns:
        Three maps (H, W); phase congruency lies in 0..1.
    """
    radial, angular = _log_gabor(image.shape)
    spectrum = scipy.fft.fft2(image)
    energies = amplitudes = xx = yy = xy = 0
    for orientation, spread in enumerate(angular):
        energy, amplitude = _oriented_energy(spectrum, [band * spread for band in radial])
        energies, amplitudes = energies + energy, amplitudes + amplitude
        angle = orientation * np.pi / _ORIENTATIONS
        with np.errstate(divide="ignore", invalid="ignore"):
            congruency = energy / amplitude
        x, y = congruency * np.cos(angle), congruency * np.sin(angle)
        xx, yy, xy = xx + x * x, yy + y * y, xy + x * y
    xx, yy, xy = xx * 2 / _ORIENTATIONS, yy * 2 / _ORIENTATIONS, xy / _ORIENTATIONS
    spread = np.sqrt(xy**2 + (xx - yy) ** 2) + _EPSILON
    return energies / (amplitudes + _EPSILON), (yy + xx + spread) / 2, (yy + xx - spread) / 2


def _oriented_energy(spectrum: ndarray, filters: list[ndarray]) -> tuple[ndarray, ndarray]:
    """Energy above the noise weighted by frequency spread, and the sum of amplitudes, of one orientation."""
    responses = [scipy.fft.ifft2(spectrum * band) for band in filters]
    sizes = [np.abs(response) for response in responses]
    amplitude = sum(sizes)
    mean = sum(responses)
    mean = mean / (np.abs(mean) + _EPSILON)
    energy = 0
    for response in responses:
        turned = response * mean.conj()  # real part: along the mean phase, imaginary part: across
        energy = energy + turned.real - np.abs(turned.imag)
    noise_power = -np.median(sizes[0] ** 2) / np.log(0.5) / np.sum(filters[0] ** 2)
    impulse = scipy.fft.ifft2(sum(filters)).real
    rayleigh = np.sqrt(noise_power * np.sum(impulse**2) * impulse.size)
    threshold = rayleigh * (np.sqrt(np.pi / 2) + 2 * np.sqrt(2 - np.pi / 2)) / 1.7
    width = amplitude / (np.max(sizes, axis=0) + _EPSILON) / _SCALES
    return np.maximum(energy - threshold, 0) / (1 + np.exp((0.5 - width) * 10)), amplitude


@lru_cache(maxsize=2)
def _log_gabor(shape: tuple[int, int]) -> tuple[list[ndarray], list[ndarray]]:
    """Radial parts of 4 log-Gabor filters and angular parts of 6 orientations, zero frequency first."""
    y, x = np.meshgrid(*(_frequencies(n) for n in shape), indexing="ij")
    radius, theta = np.hypot(x, y), np.arctan2(-y, x)
    radius[0, 0] = 1
    low_pass = _low_pass(shape)
    radial = []
    for scale in range(_SCALES):
        band = np.exp(-(np.log(radius * 3 * 2.1**scale) ** 2) / (2 * np.log(0.55) ** 2)) * low_pass
        band[0, 0] = 0
        radial.append(band)
    angular = []
    for orientation in range(_ORIENTATIONS):
        turn = theta - orientation * np.pi / _ORIENTATIONS
        distance = np.abs(np.arctan2(np.sin(turn), np.cos(turn)))
        angular.append(np.exp(-(distance**2) / (2 * (np.pi / _ORIENTATIONS / 1.2) ** 2)))
    return radial, angular


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
