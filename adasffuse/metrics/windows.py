"""Local windows: separable filters, and the local moments of structural metrics, computed in strips of rows."""

from collections.abc import Iterator, Mapping

import cv2
import numpy as np
import scipy.fft
from numpy import ndarray

_STRIP = 64  # rows per strip, whose temporaries stay in the processor's cache


def gaussian(size: int, sigma: float) -> ndarray:
    """`size` taps of a Gaussian, sum 1.

    Args:
        size: number of taps.
        sigma: standard deviation in pixels.
    Returns:
        (size,) float64.
    """
    x = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


def uniform(size: int) -> ndarray:
    """`size` equal taps, sum 1.

    Args:
        size: number of taps.
    Returns:
        (size,) float64.
    """
    return np.full(size, 1 / size)


def filter_valid(image: ndarray, taps: ndarray) -> ndarray:
    """Correlate rows and columns with k `taps`, only where the window lies inside: (H, W) to (H-k+1, W-k+1).

    Args:
        image: (H, W) float64.
        taps: (k,), k at most H and W.
    Returns:
        (H - k + 1, W - k + 1) float64.
    """
    k, before = len(taps), len(taps) // 2  # OpenCV's anchor
    height, width = image.shape
    if taps.min() == taps.max():  # running sums: exact for whole numbers
        same = cv2.boxFilter(image, cv2.CV_64F, (k, k), normalize=False)
        same *= taps[0] ** 2
    else:
        same = cv2.sepFilter2D(image, cv2.CV_64F, taps, taps)
    return same[before : before + height - k + 1, before : before + width - k + 1]


def filter_valid_by_fft(image: ndarray, taps: ndarray) -> ndarray:
    """`filter_valid` for symmetric taps, up to rounding; much faster for hundreds of taps.

    Args:
        image: (H, W) float64.
        taps: (k,), symmetric, k at most H and W.
    Returns:
        (H - k + 1, W - k + 1) float64.
    """
    # the transforms are circular: only the first k - 1 rows and columns, cut below, are wrapped around
    height, width = (scipy.fft.next_fast_len(n, real=True) for n in image.shape)
    spectrum = scipy.fft.rfft2(image, (height, width))
    spectrum *= scipy.fft.fft(taps, height)[:, None]
    spectrum *= scipy.fft.rfft(taps, width)
    filtered = scipy.fft.irfft2(spectrum, (height, width), overwrite_x=True)
    return filtered[len(taps) - 1 : image.shape[0], len(taps) - 1 : image.shape[1]]


def filter_same(image: ndarray, rows: ndarray, columns: ndarray, border: int = cv2.BORDER_CONSTANT) -> ndarray:
    """Correlate every row with `rows` and every column with `columns`, with zeros or another OpenCV border.

    Args:
        image: (H, W) float64.
        rows, columns: taps, an odd number each.
        border: one of OpenCV's BORDER constants.
    Returns:
        (H, W) float64.
    """
    return cv2.sepFilter2D(image, cv2.CV_64F, rows, columns, borderType=border)


def with_border(image: ndarray, rows: slice, border: int, margin: int = 1) -> ndarray:
    """The rows with `margin` more pixels on each side, from the image or else by OpenCV's `border`.

    Args:
        image: (H, W).
        rows: a slice within 0..H.
        border: one of OpenCV's BORDER constants.
        margin: pixels.
    Returns:
        (rows + 2 margin, W + 2 margin).
    """
    first, last = rows.start - margin, rows.stop + margin
    top, bottom = max(first, 0), min(last, image.shape[0])
    return cv2.copyMakeBorder(image[top:bottom], top - first, last - bottom, margin, margin, border)


def fits(image: ndarray, size: int) -> bool:
    """Whether a `size` x `size` window fits into the image.

    Args:
        image: (H, W).
        size: side of the window in pixels.
    """
    return min(image.shape) >= size


def strips(height: int, window: int = 1, step: int | None = None) -> Iterator[slice]:
    """Slices of rows that overlap by `window` - 1, so that each window position lies in exactly one of them.

    Args:
        height: rows of the image.
        window: rows of a window.
        step: window positions per slice; None: 64.
    Returns:
        Slices of at most step + window - 1 rows, from top to bottom.
    """
    step = step or _STRIP
    for top in range(0, height - window + 1, step):
        yield slice(top, min(top + step + window - 1, height))


class LocalMoments:
    """Means, variances and covariances of named images in a sliding window, each computed once.

    Covariances of a magnitude below `floor` become 0, for metrics that would divide by the rounding noise of flat
    windows.
    """

    def __init__(self, taps: ndarray, images: Mapping[str, ndarray], floor: float = 0.0) -> None:
        self._taps = taps
        self._images = images
        self._floor = floor
        self._means: dict[str, ndarray] = {}
        self._mean_products: dict[tuple[str, str], ndarray] = {}
        self._covariances: dict[tuple[str, str], ndarray] = {}

    def mean(self, name: str) -> ndarray:
        """Weighted mean of one image, (H, W), in every window inside it: (H - k + 1, W - k + 1) for k taps."""
        if name not in self._means:
            self._means[name] = filter_valid(self._images[name], self._taps)
        return self._means[name]

    def mean_product(self, first: str, second: str) -> ndarray:
        """Product E[x] E[y] of the means of two images, shaped like `mean`."""
        key = (first, second) if first <= second else (second, first)
        if key not in self._mean_products:
            self._mean_products[key] = self.mean(first) * self.mean(second)
        return self._mean_products[key]

    def covariance(self, first: str, second: str) -> ndarray:
        """Weighted population covariance E[xy] - E[x] E[y] of two images, shaped like `mean`."""
        key = (first, second) if first <= second else (second, first)
        if key not in self._covariances:
            moment = filter_valid(self._images[first] * self._images[second], self._taps)
            moment -= self.mean_product(first, second)
            if self._floor:
                moment[np.abs(moment) < self._floor] = 0
            self._covariances[key] = moment
        return self._covariances[key]

    def forget(self, name: str) -> None:
        """Free the moments of an image that is no longer needed, so that strips stay in the cache."""
        self._means.pop(name, None)
        for moments in (self._mean_products, self._covariances):
            for key in [key for key in moments if name in key]:
                del moments[key]

    def variance(self, name: str) -> ndarray:
        """Weighted population variance, shaped like `mean`; rounding may leave it slightly below 0."""
        return self.covariance(name, name)
