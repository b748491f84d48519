"""Registration of gray values by normalised mutual information, for functional scans and anatomy of one patient.

The measure is I(A, B) / H(A, B) = (H(A) + H(B)) / H(A, B) - 1: Studholme, Hill, Hawkes, "An overlap invariant entropy
measure of 3D medical image alignment", Pattern Recognition 1999, doi:10.1016/S0031-3203(98)00091-0.  Unlike I(A, B) it
does not grow when a functional image is scaled up to the head's outline.  It is taken over the whole target, so it does
not grow by moving parts out of the overlap; outside the moving image counts as black, which scanners leave around the
patient.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from adasffuse.registration.transform import identity

_BINS = 16
_SPREAD = 1.0  # pixels of blur at a side of 128; its square is proportional to the side
UNIT = 1 / 256  # parameters of 1 move pixels by this share of the longer side: all by shifts, else those at 1/4 of it
_STAGES = ((64, 2, 6.0, 3), (64, 4, 3.0, 4), (64, 6, 2.0, 4), (128, 6, 1.0, 6), (128, 6, 0.5, 4))
SHIFTS, COARSE = _STAGES[:1], _STAGES[:3]
_PERSPECTIVE = ((128, 8, 0.5, 4),)  # side, parameters, first step in units, rounds; as in _STAGES
_PENALTY = 0.2  # factor of the `distortion`


class Information:
    """Normalised mutual information of a target and a moving image as a function of the matrix, at one size.

    Args:
        moving, target: (H, W) float32 in [0, 1].
        moving_valid, target_valid: float32, 1 where there is data.
        side: longer side of the target, pixels; larger images are reduced.
    """

    def __init__(
        self, moving: np.ndarray, moving_valid: np.ndarray, target: np.ndarray, target_valid: np.ndarray, side: int
    ) -> None:
        factor = min(1.0, side / max(target.shape))

        def blurred(image: np.ndarray) -> np.ndarray:
            return cv2.GaussianBlur(reduced(image, factor), (0, 0), _SPREAD * np.sqrt(side / 128))

        def spread(small: np.ndarray) -> np.ndarray:
            return small / max(float(small.max()), 1e-6) * (_BINS - 1)

        self._moving = spread(blurred(moving * moving_valid))
        small = spread(blurred(target))
        self._use = blurred(target_valid) > 0.999
        self._bins = (small + 0.5).astype(np.int64)
        self._to_moving = identity(moving.shape, self._moving.shape)
        self._to_target = np.linalg.inv(identity(target.shape, small.shape))

    def __call__(self, matrix: np.ndarray) -> float:
        """The information, in [0, 1], for a matrix from target to moving pixel positions at full size."""
        whole = self._to_moving @ matrix @ self._to_target
        size, flags = self._bins.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        position = cv2.warpPerspective(self._moving, whole, size, flags=flags)[self._use]
        low = np.minimum(position.astype(np.int64), _BINS - 2)  # each pixel is shared by the two bins around its value
        share = position - low
        index = self._bins[self._use] * _BINS + low
        joint = np.bincount(index, 1 - share, _BINS**2) + np.bincount(index + 1, share, _BINS**2)
        joint = joint.reshape(_BINS, _BINS) / max(len(position), 1)
        both = entropy(joint)
        return (entropy(joint.sum(0)) + entropy(joint.sum(1)) - both) / max(both, 1e-9)


def register_by_information(
    moving: np.ndarray,
    moving_valid: np.ndarray,
    target: np.ndarray,
    target_valid: np.ndarray,
    start: np.ndarray,
    method: str = "affine",
    stages: Sequence[tuple[int, int, float, int]] = _STAGES,
) -> np.ndarray:
    """The matrix (3, 3) from target to moving pixel positions with the largest information near the start.

    Args:
        moving, moving_valid, target, target_valid: as in `Information`.
        start: (3, 3).
        method: 'translation', 'affine' or 'homography'.
        stages: of the search, from coarse to fine: `SHIFTS` or `COARSE` for a rough one.
    """
    from scipy.optimize import minimize  # here, since it takes as long to import as the rest of the registration

    stages = (*stages, *_PERSPECTIVE) if method == "homography" else stages
    most = 2 if method == "translation" else 8
    found = np.zeros(8)
    measures = {
        side: Information(moving, moving_valid, target, target_valid, side) for side in {stage[0] for stage in stages}
    }

    def loss(parameters: np.ndarray, side: int) -> float:
        own = movement(parameters, target.shape)
        return _PENALTY * distortion(own) - measures[side](start @ own)

    for side, count, step, rounds in stages:
        count = min(count, most)
        options = {"direc": step * np.eye(count), "xtol": 0.02, "ftol": 1e-7, "maxiter": rounds}
        found[:count] = minimize(loss, found[:count], args=(side,), method="Powell", options=options).x
    return start @ movement(found, target.shape)


def reduced(image: np.ndarray, factor: float) -> np.ndarray:
    """An image (H, W) at `factor` of its size, at least 8 pixels a side; as it is for a factor of 1."""
    size = [max(8, round(length * factor)) for length in image.shape[::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image


def movement(parameters: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) matrix that moves an image of this height and width.

    Args:
        parameters: shift x, shift y, turn, scale, stretch, shear, perspective x and y in `UNIT`; the last may be left
            out.
    """
    p = np.zeros(8)
    p[: len(parameters)] = parameters
    height, width = size
    side = max(size)
    shift_x, shift_y = p[:2] * UNIT * side
    turn, scale, stretch, shear, *perspective = p[2:] * 4 * UNIT
    inner = np.array([[1 + scale + stretch, shear - turn, 0], [shear + turn, 1 + scale - stretch, 0], [0, 0, 1.0]])
    inner[:2, 2] = shift_x, shift_y
    inner[2, :2] = np.divide(perspective, side)
    middle = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    return middle @ inner @ np.linalg.inv(middle)


def distortion(matrix: np.ndarray) -> float:
    """Sum of squared differences of a matrix's linear part from the identity."""
    return float(np.square(matrix[:2, :2] / matrix[2, 2] - np.eye(2)).sum())


def entropy(shares: np.ndarray) -> float:
    """Entropy of a histogram of sum 1, in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
