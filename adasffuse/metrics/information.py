"""Metrics that count gray levels: EN, MI, NMI, cross entropy, Qncie, TE.  Images are float64 (H, W) on 0..255."""

import math

import numpy as np
from numpy import ndarray

from adasffuse.metrics.histograms import entropy_of, gray_histogram, joint_histogram, stretch, value_codes

_NAN = float("nan")


def entropy(fused: ndarray) -> float:
    """EN, Shannon entropy of the gray levels in bits: -sum p log2 p over the 256-bin histogram of round(F).

    Roberts, van Aardt and Ahmed, J. Applied Remote Sensing 2, 2008, 023522.  Range 0..8, higher is better.  Rewards
    noise and stretched contrast: any flat histogram scores 8.

    Args:
        fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    return entropy_of(gray_histogram(fused)) / math.log(2)


def mutual_information(
    a: ndarray, b: ndarray, fused: ndarray, base: float = math.e, saturated_bin: bool = False
) -> float:
    """MI, I(A; F) + I(B; F) with I(X; Y) = H(X) + H(Y) - H(X, Y), from histograms of the exact gray values.

    Qu, Zhang and Yan, Electronics Letters 38(7), 2002, 10.1049/el:20020212.  At least 0, at most H(A) + H(B) (16 bits),
    higher is better.  Rewards a copy of one source and any narrow histogram; blind to the position of pixels.

    Args:
        a, b, fused: (H, W).
        base: base of the logarithm; e gives nats, 2 bits.
        saturated_bin: gray 254 and 255 share one bin of the joint histogram only, as with `uint8 + 1` in MATLAB.
            Images must then be whole numbers in 0..255.
    Returns:
        The score.
    """
    codes = value_codes(fused)
    both = [_information(value_codes(source), codes, saturated_bin)[0] for source in (a, b)]
    return sum(both) / math.log(base)


def normalized_mutual_information(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """NMI (Qmi), 2 (I(A; F) / (H(A) + H(F)) + I(B; F) / (H(B) + H(F))).

    Hossny, Nahavandi and Creighton, Electronics Letters 44(18), 2008, 10.1049/el:20081754.  0..2, higher is better.
    Rewards a copy of one source (that term is then 1).  NaN where a source and F are both flat.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where a source and F are both flat.
    """
    codes = value_codes(fused)
    total = 0.0
    for source in (a, b):
        information, h_source, h_fused = _information(value_codes(source), codes)
        total += 2 * information / (h_source + h_fused) if h_source + h_fused > 0 else _NAN
    return total


def cross_entropy(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """CE, mean over A and B of sum p log2(p / q), p a source's and q the fused histogram, where both are above 0.

    Bulanon, Burks and Alchanatis, Biosystems Engineering 103(1), 2009, 10.1016/j.biosystemseng.2009.02.009.  Lower is
    better.  In fact a Kullback-Leibler divergence without the levels that F lacks, so F may score below 0 by dropping
    levels.  Blind to the position of pixels.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    q = gray_histogram(fused)
    divergences = []
    for p in (gray_histogram(a), gray_histogram(b)):
        common = (p > 0) & (q > 0)
        divergences.append(float(np.sum(p[common] * np.log2(p[common] / q[common]))))
    return sum(divergences) / 2


def nonlinear_correlation_entropy(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qncie, 1 + sum (l/3) log_256(l/3) over the eigenvalues l of the 3x3 matrix of nonlinear correlations.

    The correlation of two images is H(X) + H(Y) - H(X, Y) with logarithms of base 256.  Wang, Shen and Zhang, Physica D
    200, 2005, 10.1016/j.physd.2004.11.001.  1 - log_256(3) = 0.80188 (all independent) .. 1, higher is better.  Rewards
    sources that resemble each other, whatever F is; differences between methods show in the third digit.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    codes = [value_codes(image) for image in (a, b, fused)]
    matrix = np.eye(3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        matrix[i, j] = matrix[j, i] = _information(codes[i], codes[j])[0] / math.log(256)
    shares = np.linalg.eigvalsh(matrix) / 3
    shares = shares[shares > 0]
    return 1 + float(np.sum(shares * np.log(shares))) / math.log(256)


def tsallis_information(
    a: ndarray,
    b: ndarray,
    fused: ndarray,
    stretched: bool = False,
    transposed_margins: bool = False,
) -> float:
    """TE, sum over A and B of (1 - sum p(x,y)^q / (p(x) p(y))^(q-1)) / (1 - q), Tsallis mutual information.

    Cvejic, Canagarajah and Bull, Electronics Letters 42(11), 2006, 626-627, with q = 1.85.  At least 0, no upper bound
    (rare pairs of levels dominate), higher is better.  Rewards a copy of one source.

    Args:
        a, b, fused: (H, W).
        stretched: stretch each image to 0..255 first.
        transposed_margins: use the transposed product of the margins, as in the published MATLAB code; the result is no
            information.
    Returns:
        The score.
    """
    if stretched:
        a, b, fused = stretch(a), stretch(b), stretch(fused)
        if any(np.isnan(image).any() for image in (a, b, fused)):  # flat images cannot be stretched
            return _NAN
    codes = value_codes(fused)
    q, total = 1.85, 0.0
    for source in (a, b):
        joint = joint_histogram(value_codes(source), codes)
        rows, columns = joint.sum(axis=1), joint.sum(axis=0)
        outer = np.outer(columns, rows) if transposed_margins else np.outer(rows, columns)
        filled = (outer > 0) & (joint > 0)
        total += (1 - float(np.sum(joint[filled] ** q / outer[filled] ** (q - 1)))) / (1 - q)
    return total


def _information(
    first: tuple[ndarray, int], second: tuple[ndarray, int], saturated_bin: bool = False
) -> tuple[float, float, float]:
    """(I(X; Y), H(X), H(Y)) in nats of two code images; `saturated_bin` merges 254 with 255 in H(X, Y) alone."""
    joint = joint_histogram(first, second)
    h_first, h_second = entropy_of(joint.sum(axis=1)), entropy_of(joint.sum(axis=0))
    if saturated_bin:
        joint[254] += joint[255]
        joint[:, 254] += joint[:, 255]
        joint = joint[:255, :255]
    return h_first + h_second - entropy_of(joint), h_first, h_second
