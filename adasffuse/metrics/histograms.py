"""Gray-level histograms and entropies.  Images are float64 (H, W) on 0..255."""

import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import strips

_PIXELS = 2**20  # pixels counted at once


def gray_histogram(image: ndarray) -> ndarray:
    """Share of each of the 256 gray levels round(image).

    Args:
        image: (H, W) on 0..255; other values are clipped.
    Returns:
        (256,) float64 of sum 1.
    """
    levels = (np.clip(np.rint(image[rows]), 0, 255).astype(np.int64) for rows in strips(len(image)))
    return sum(np.bincount(part.ravel(), minlength=256) for part in levels) / image.size


def stretch(image: ndarray, divided_first: bool = False) -> ndarray:
    """Stretch to 0..255 and round, halves up; an all-zero image is unchanged, another flat image becomes NaN.

    Args:
        image: (H, W).
        divided_first: work on image / 255, which moves some exact halves.
    Returns:
        (H, W) float64, whole numbers 0..255, or NaN everywhere.
    """
    image = image / 255 if divided_first else image
    low, high = image.min(), image.max()
    if low == high:
        return image if low == 0 else np.full_like(image, np.nan)
    scaled = image - low  # in place from here on, for large images
    scaled /= high - low
    scaled *= 255
    whole = np.floor(scaled)
    scaled -= whole
    whole += scaled >= 0.5
    return whole


def value_codes(image: ndarray) -> tuple[ndarray, int]:
    """(code of every pixel, number of codes), one code per exact value; whole numbers 0..255 are their own codes.

    Args:
        image: (H, W) of any values.
    Returns:
        Integer codes (H * W,) and how many different ones there may be.
    """
    with np.errstate(invalid="ignore"):  # the comparison below finds values that do not fit
        whole = image.astype(np.uint8)
    if np.array_equal(whole, image):
        return whole.ravel(), 256
    values, codes = np.unique(image, return_inverse=True)
    return codes.ravel(), len(values)


def joint_histogram(first: tuple[ndarray, int], second: tuple[ndarray, int]) -> ndarray:
    """Joint probabilities (n1, n2) of two code images as `value_codes` returns them.

    Args:
        first, second: codes of two images of one size, and their numbers of codes.
    Returns:
        (n1, n2) float64 of sum 1.
    """
    (x, nx), (y, ny) = first, second
    joint = (x[part].astype(np.int64) * ny + y[part] for part in strips(x.size, step=_PIXELS))  # codes of pairs
    return sum(np.bincount(codes, minlength=nx * ny) for codes in joint).reshape(nx, ny) / x.size


def entropy_of(probabilities: ndarray) -> float:
    """-sum p ln p over the p above 0, in nats.

    Args:
        probabilities: of any shape, sum 1.
    Returns:
        At least 0.
    """
    p = probabilities[probabilities > 0]
    return abs(float(np.sum(p * np.log(p))))
