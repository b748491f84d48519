"""Registration of gray values by normalized mutual information, for medical images of one patient.

Studholme, Hill, Hawkes, "An overlap invariant entropy measure of 3D medical image alignment", Pattern Recognition 1999,
doi:10.1016/S0031-3203(98)00091-0: (H(A) + H(B)) / H(A, B), 1 for independent images, 2 for images that determine each
other, computed where both hold data.
"""

import cv2
import numpy as np
from scipy.optimize import minimize

_BINS = 32
_SIZES = (64, 128, 256)  # longer side per level, pixels
_FIRST_STEP = 0.03  # of the width, at the coarsest level
_FEWEST = 0.3  # of the target's pixels must lie on the moving image


class Information:
    """Normalized mutual information of a target and a moving image under any matrix, at one size.

    Args:
        moving, target: (H, W) float32 in [0, 1].
        moving_valid, target_valid: float32, 1 where there is data.
        side: longer side of the target, pixels; larger images are reduced.
    """

    def __init__(
        self, moving: np.ndarray, moving_valid: np.ndarray, target: np.ndarray, target_valid: np.ndarray, side: int
    ) -> None:
        factor = min(1.0, side / max(target.shape))

        def reduced(image: np.ndarray) -> np.ndarray:
            size = [max(8, round(length * factor)) for length in image.shape[::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
            return cv2.GaussianBlur(small, (0, 0), 0.7)

        self._moving, self._valid = reduced(moving), np.float32(reduced(moving_valid) > 0.999)
        small = reduced(target)
        self._use = reduced(target_valid) > 0.999
        self._bins = (small * (_BINS - 1) + 0.5).astype(np.int64)
        self._to_moving = _resizing(moving.shape, self._moving.shape)
        self._to_target = np.linalg.inv(_resizing(target.shape, small.shape))

    def __call__(self, matrix: np.ndarray) -> float:
        """The measure for a matrix from target to moving pixel positions, at full size; 1 without enough overlap."""
        whole = self._to_moving @ matrix @ self._to_target
        size, flags = self._bins.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(self._moving, whole, size, flags=flags)
        known = cv2.warpPerspective(self._valid, whole, size, flags=flags) > 0.999
        known &= self._use
        count = int(known.sum())
        if count < _FEWEST * known.size:
            return 1.0
        position = warped[known] * (_BINS - 1)  # each pixel counts for the two bins around its value
        low = np.minimum(position.astype(np.int64), _BINS - 2)
        share = position - low
        index = self._bins[known] * _BINS + low
        joint = np.bincount(index, 1 - share, _BINS**2) + np.bincount(index + 1, share, _BINS**2)
        joint = joint.reshape(_BINS, _BINS) / count
        whole_entropy = _entropy(joint)
        return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / whole_entropy if whole_entropy > 1e-9 else 1.0


def register_by_information(
    moving: np.ndarray,
    moving_valid: np.ndarray,
    target: np.ndarray,
    target_valid: np.ndarray,
    start: np.ndarray,
    method: str,
) -> np.ndarray:
    """(3, 3) matrix from target to moving pixel positions at which the information is largest near the start.

    Args:
        moving, moving_valid, target, target_valid: as of `Information`.
        start: (3, 3).
        method: 'translation', 'affine' or 'homography'.
    """
    height, width = target.shape
    corners = np.float32([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])

    def matrix_of(shifts: np.ndarray) -> np.ndarray:
        """The start after corners of the target have moved by `shifts`: one, three or four (x, y) in pixels."""
        moved = corners[: len(shifts) // 2] + shifts.reshape(-1, 2).astype(np.float32)
        if len(moved) == 1:
            own = np.eye(3)
            own[:2, 2] = shifts
        elif len(moved) == 3:
            own = np.vstack([cv2.getAffineTransform(corners[:3], moved), [0, 0, 1]])
        else:
            own = cv2.getPerspectiveTransform(corners, moved)
        return start @ own

    found, step = np.zeros(2), _FIRST_STEP * width
    stages = [(_SIZES[0], 1), (_SIZES[0], 3), (_SIZES[1], 3), (_SIZES[2], 3)]
    if method == "homography":
        stages[2:] = [(_SIZES[1], 4), (_SIZES[2], 4)]
    if method == "translation":
        stages = [(side, 1) for side in _SIZES]
    for side, count in stages:
        measure = Information(moving, moving_valid, target, target_valid, side)
        if len(found) == 2 and count > 1:
            found = np.tile(found, count)
        elif len(found) < 2 * count:
            found = np.append(found, found[2:4] + found[4:6] - found[:2])
        options = {"direc": _directions(count) * step, "xtol": 0.02, "ftol": 1e-6, "maxiter": 12}
        found = minimize(lambda s, measure=measure: -measure(matrix_of(s)), found, method="Powell", options=options).x
        step /= 2
    return matrix_of(found)


def _directions(count: int) -> np.ndarray:
    """Ways to move `count` corners: all together first, then turned and stretched, then one by one."""
    if count == 1:
        return np.eye(2)
    together = np.tile(np.eye(2), count)
    if count == 4:
        return np.vstack([together, np.eye(8)[2:]])
    return np.vstack([together, np.eye(6)[2:]])


def _resizing(size: tuple[int, int], to: tuple[int, int]) -> np.ndarray:
    """(3, 3) matrix from the pixel positions of an image to those of its resized form."""
    x, y = to[1] / size[1], to[0] / size[0]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
