"""Edge features that two cameras have in common although their gray values differ: the orientation of edges.

Channels of oriented gradients, smoothed and of unit length, after CFOG: Ye, Bruzzone, Shan, Bovolo, Zhu, "Fast and
robust matching for multimodal remote sensing image registration", IEEE TGRS 2019, doi:10.1109/TGRS.2019.2924684.
An edge from dark to bright and one from bright to dark give the same features.
"""

import cv2
import numpy as np

CHANNELS = 6  # orientations, 30 degrees apart
_SMOOTHING = 0.8  # pixels
_SURROUNDINGS = 8.0  # pixels: the local mean of the features at this scale is subtracted
_FLOOR = 0.75  # of the mean length of features, added to each length: features of weak edges are shorter than 1
_NOISE = 2e-3  # gradient of an image without content, in [0, 1] per pixel


def edge_features(luma: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Features of every pixel, (6, H, W) float32, of length 1 at most; 0 where there is no data.

    Args:
        luma: (H, W) float32 in [0, 1].
        valid: (H, W) bool, False where `luma` holds no data.
    """
    smooth = cv2.GaussianBlur(np.sqrt(np.clip(luma, 0, 1)), (0, 0), _SMOOTHING)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    if valid is not None:  # the edge of the data is no edge of the scene
        inside = cv2.erode(valid.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=1)
        gx, gy = gx * inside, gy * inside
    angles = np.arange(CHANNELS, dtype=np.float32) * np.float32(np.pi / CHANNELS)
    features = np.abs(np.cos(angles)[:, None, None] * gx + np.sin(angles)[:, None, None] * gy)
    features -= features.min(axis=0)
    features = _blurred(features, _SMOOTHING)
    length = np.sqrt(np.einsum("chw,chw->hw", features, features))
    features /= length + _FLOOR * length.mean() + _NOISE
    features -= _blurred(features, _SURROUNDINGS)
    return features if valid is None else features * inside


def _blurred(planes: np.ndarray, spread: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(plane, (0, 0), spread) for plane in planes])
