"""Metrics that count gray levels: EN, MI.  Images are float64 (H, W) on 0..255."""

import numpy as np
from numpy import ndarray

from adasffuse.metrics.histograms import entropy_of, gray_levels, joint_histogram, value_codes


def entropy(fused: ndarray) -> float:
    """EN, Shannon entropy of the gray levels in bits: -sum p log2 p over the 256-bin histogram of round(F).

    Range 0..8, higher is better.  Rewards noise and stretched contrast: any flat histogram scores 8.
    """
    return entropy_of(np.bincount(gray_levels(fused).ravel(), minlength=256) / fused.size)


def mutual_information(a: ndarray, b: ndarray, fused: ndarray, base: float = np.e) -> float:
    """MI, I(A; F) + I(B; F) from joint histograms of gray values; base e gives nats, 2 bits.

    Higher is better, at least 0.  Rewards a copy of one source, and noise that both sources share.
    """
    codes = value_codes(fused)
    return sum(_information(joint_histogram(value_codes(source), codes)) for source in (a, b)) / float(np.log(base))


def _information(joint: ndarray) -> float:
    """Mutual information in nats of a joint probability table."""
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    p = joint[some]
    return max(float(np.sum(p * np.log(p / outer[some]))), 0.0)
