"""Local windows: separable filters on the 'valid' area, and the local moments that structural metrics are made of."""

import cv2
import numpy as np
from numpy import ndarray


def gaussian(size: int, sigma: float) -> ndarray:
    """`size` taps of a Gaussian, sum 1."""
    x = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


def uniform(size: int) -> ndarray:
    """`size` equal taps, sum 1."""
    return np.full(size, 1 / size)


def filter_valid(image: ndarray, taps: ndarray) -> ndarray:
    """Correlate rows and columns with k `taps` wherever the window lies inside: (H, W) to (H-k+1, W-k+1)."""
    k = len(taps)
    height, width = image.shape
    before = k // 2  # OpenCV's anchor
    return cv2.sepFilter2D(image, cv2.CV_64F, taps, taps)[
        before : before + height - k + 1, before : before + width - k + 1
    ]


def fits(image: ndarray, size: int) -> bool:
    """Whether a `size` x `size` window fits into the image."""
    return min(image.shape) >= size


class LocalMoments:
    """Means, variances and covariances of pictures in a sliding window, each computed once.

    Variances are taken about a constant near the picture's mean, so that a flat picture has variance 0 exactly.
    """

    def __init__(self, taps: ndarray, **images: ndarray) -> None:
        self._taps = taps
        self._shift = {name: float(image.flat[0]) for name, image in images.items()}
        self._centered = {name: image - self._shift[name] for name, image in images.items()}
        self._means = {name: filter_valid(image, taps) for name, image in self._centered.items()}
        self._products: dict[tuple[str, str], ndarray] = {}

    def mean(self, name: str) -> ndarray:
        """Weighted mean of one picture in every window."""
        return self._means[name] + self._shift[name]

    def covariance(self, first: str, second: str) -> ndarray:
        """Weighted population covariance of two pictures, or the variance where both names are the same."""
        key = (first, second) if first <= second else (second, first)
        if key not in self._products:
            product = filter_valid(self._centered[first] * self._centered[second], self._taps)
            product -= self._means[first] * self._means[second]
            self._products[key] = product
        return self._products[key]

    def variance(self, name: str) -> ndarray:
        """Weighted population variance; what rounding makes negative becomes 0."""
        return np.maximum(self.covariance(name, name), 0)
