"""Registration of gray values by mutual information, for medical images of one patient.

H(A) + H(B) - H(A, B) after Maes, Collignon, Vandermeulen, Marchal, Suetens, "Multimodality image registration by
maximization of mutual information", IEEE TMI 1997, doi:10.1109/42.563664.  Scanners leave black around the patient, so
what lies outside the moving image counts as black, and the measure is always over the whole target: it cannot be raised
by moving what does not fit out of sight.  Functional images follow no outline that fixes their scale, so a small
penalty keeps the estimate near the scale and the shape that the images came with.
"""

import cv2
import numpy as np

_BINS = 32
_SIZES = (64, 128, 256)  # longer side per level, pixels
_FIRST_STEP = 0.03  # of the width, at the coarsest level
_PENALTY, _UNIT = 0.01, 0.05  # nats for a matrix whose linear part is a root sum of squares of 0.05 from the start's


class Information:
    """Mutual information of a target and a moving image under any matrix, at one size.

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

        self._moving = reduced(moving * moving_valid)
        small = reduced(target)
        self._use = reduced(target_valid) > 0.999
        self._bins = (small * (_BINS - 1) + 0.5).astype(np.int64)
        self._to_moving = _resizing(moving.shape, self._moving.shape)
        self._to_target = np.linalg.inv(_resizing(target.shape, small.shape))

    def __call__(self, matrix: np.ndarray) -> float:
        """The information, in nats, for a matrix from target to moving pixel positions at full size."""
        whole = self._to_moving @ matrix @ self._to_target
        size, flags = self._bins.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(self._moving, whole, size, flags=flags)[self._use]
        position = warped * (_BINS - 1)  # each pixel counts for the two bins around its value
        low = np.minimum(position.astype(np.int64), _BINS - 2)
        share = position - low
        index = self._bins[self._use] * _BINS + low
        joint = np.bincount(index, 1 - share, _BINS**2) + np.bincount(index + 1, share, _BINS**2)
        joint = joint.reshape(_BINS, _BINS) / max(len(warped), 1)
        return _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)


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
    from scipy.optimize import minimize  # here, since it takes as long to load as all the rest of this room

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

        def loss(shifts: np.ndarray, measure: Information = measure) -> float:
            matrix = matrix_of(shifts)
            change = np.linalg.solve(start, matrix)[:2, :2] - np.eye(2)
            return _PENALTY * float(np.square(change / _UNIT).sum()) - measure(matrix)

        found = minimize(loss, found, method="Powell", options=options).x
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
