"""The last steps of a registration by information, with a smooth measure and its gradient.

The quick measure of `information` has many small local maxima, so searches from different starts end some pixels apart.
Here values of the moving image are spread over bins by a cubic B-spline (Mattes et al., IEEE TMI 2003,
doi:10.1109/TMI.2003.809072), so the information is smooth in the matrix, and searches end at the same maximum.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from adasffuse.registration.information import UNIT, entropy, movement, reduced
from adasffuse.registration.models import PARAMETERS
from adasffuse.registration.transform import identity

_SIDE = 192  # pixels, longer side of the target
_BLUR = 1.5  # pixels at that side
_BINS = 16
_ROW = 1024  # positions are sampled in rows of this length, since OpenCV takes no row longer than 32766
_PENALTY = 0.05  # factor of the `distortion`; 0.2 in `information`, where the result must stay near the start
_SEARCH = {"maxiter": 60, "ftol": 1e-9, "gtol": 1e-7}


class SmoothInformation:
    """Normalised mutual information, as `Information`, and its derivatives by the matrix.

    Values of the target, which is not moved, are shared linearly by the two bins around them.

    Args:
        moving, target: (H, W) float32 in [0, 1].
        moving_valid, target_valid: float32, 1 where there is data.
    """

    def __init__(
        self, moving: np.ndarray, moving_valid: np.ndarray, target: np.ndarray, target_valid: np.ndarray
    ) -> None:
        self.size, self.moving_size = target.shape, moving.shape
        factor = min(1.0, _SIDE / max(target.shape))

        def blurred(image: np.ndarray, border: int) -> np.ndarray:
            return cv2.GaussianBlur(reduced(image, factor), (0, 0), _BLUR, borderType=border)

        def in_bins(small: np.ndarray) -> np.ndarray:  # leaves a bin free at each end, for the splines
            return small / max(float(small.max()), 1e-6) * (_BINS - 3) + 1

        self._moving = in_bins(blurred(moving * moving_valid, cv2.BORDER_CONSTANT)).astype(np.float32)
        self._slopes = [
            cv2.filter2D(self._moving, cv2.CV_32F, kernel)
            for kernel in (np.float32([[-0.5, 0, 0.5]]), np.float32([[-0.5], [0], [0.5]]))
        ]
        small = in_bins(blurred(target, cv2.BORDER_REFLECT_101))
        use = blurred(target_valid, cv2.BORDER_REFLECT_101) > 0.999
        self._row = np.minimum(small[use].astype(np.int64), _BINS - 2)
        self._row_share = small[use] - self._row
        y, x = np.nonzero(use)
        self._points = np.stack([x, y, np.ones(len(x))])
        self._to_moving = identity(moving.shape, self._moving.shape)
        self._to_target = np.linalg.inv(identity(target.shape, small.shape))

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        """The information, in [0, 1], for a matrix from target to moving pixel positions at full size.

        Returns:
            The information, and its derivatives by the elements of the matrix, (3, 3).
        """
        x, y, depth = self._positions(matrix)
        value, of_joint, cells = self._shares(x, y, depth)
        of_value = np.zeros(len(x))
        for cell, place in cells:
            by_row = (1 - self._row_share) * of_joint[cell] + self._row_share * of_joint[cell + _BINS]
            of_value += _spline_slope(place) * by_row
        of_value /= max(len(x), 1)
        by_x, by_y = (_sampled(slope, x, y, 0) * of_value / depth for slope in self._slopes)
        gradient = np.stack([self._points @ by_x, self._points @ by_y, -self._points @ (by_x * x + by_y * y)])
        return value, self._to_moving.T @ gradient @ self._to_target.T

    def _positions(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and depth in the moving image of each pixel of the target."""
        x, y, depth = self._to_moving @ matrix @ self._to_target @ self._points
        return x / depth, y / depth, depth

    def _shares(self, x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> tuple[float, np.ndarray, list]:
        """The information, its derivatives by the joint histogram, and for each of the four bins that share a pixel's
        value the cell of the histogram and the distance from its middle."""
        position = _sampled(self._moving, x, y, 1)
        low = position.astype(np.int64).clip(1, _BINS - 3)
        joint, cells = np.zeros(_BINS**2), []
        for step in (-1, 0, 1, 2):
            cell, place = self._row * _BINS + low + step, position - (low + step)
            weight = _spline(place)
            joint += np.bincount(cell, (1 - self._row_share) * weight, _BINS**2)
            joint += np.bincount(cell + _BINS, self._row_share * weight, _BINS**2)
            cells.append((cell, place))
        joint = joint.reshape(_BINS, _BINS) / max(len(position), 1)
        both = max(entropy(joint), 1e-9)
        alone = entropy(joint.sum(0)) + entropy(joint.sum(1))
        of_joint = (_entropy_slope(joint.sum(0)) - alone / both * _entropy_slope(joint)) / both  # H(target) is fixed
        return (alone - both) / both, of_joint.ravel(), cells


def refine_by_information(measures: Sequence[SmoothInformation], matrix: np.ndarray, method: str) -> np.ndarray:
    """Refine a registration to the nearest maximum of the smooth information, or of its mean over several pairs.

    Args:
        measures: of pairs of equal sizes that share one matrix, such as slices of one head.
        matrix: (3, 3) from target to moving pixel positions, such as the result of `register_by_information`.
        method: 'translation', 'affine' or 'homography'.
    Returns:
        (3, 3) matrix from target to moving pixel positions.
    """
    from scipy.optimize import minimize  # here, since it takes as long to import as the rest of the registration

    count, size = PARAMETERS[method], measures[0].size
    start = identity(size, measures[0].moving_size)
    still = movement(np.zeros(8), size)
    directions = np.stack([movement(one, size) - still for one in np.eye(8)[:count]])  # movement is linear
    own = np.linalg.solve(start, matrix) - still
    found = np.linalg.lstsq(directions.reshape(count, 9).T, own.ravel(), rcond=None)[0]
    # the distortion is twice the sum of squares of turn, scale, stretch and shear
    weight = 2 * _PENALTY * (4 * UNIT) ** 2

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values, slopes = zip(*(one(start @ (still + np.tensordot(parameters, directions, 1))) for one in measures))
        value, of_matrix = float(np.mean(values)), np.mean(slopes, axis=0)
        linear = parameters.copy()
        linear[:2] = linear[6:] = 0
        gradient = 2 * weight * linear - np.einsum("ij,kij->k", start.T @ of_matrix, directions)
        return weight * float(linear @ linear) - value, gradient

    found = minimize(loss, found, method="L-BFGS-B", jac=True, options=_SEARCH).x
    return start @ movement(found, size)


def _sampled(image: np.ndarray, x: np.ndarray, y: np.ndarray, outside: float) -> np.ndarray:
    """(n,) values at n positions, by linear interpolation."""
    rows = max(-(-len(x) // _ROW), 1)
    places = (np.resize(np.float32(axis), (rows, _ROW)) for axis in (x, y))
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": outside}
    return cv2.remap(image, *places, cv2.INTER_LINEAR, **border).ravel()[: len(x)].astype(np.float64)


def _spline(place: np.ndarray) -> np.ndarray:
    """Cubic B-spline at distances from its middle, in bins."""
    far = np.abs(place)
    return np.where(far < 1, (4 - 6 * far**2 + 3 * far**3) / 6, np.square(2 - far) * (2 - far) / 6 * (far < 2))


def _spline_slope(place: np.ndarray) -> np.ndarray:
    far = np.abs(place)
    return np.sign(place) * np.where(far < 1, 1.5 * far**2 - 2 * far, -np.square(2 - far) / 2 * (far < 2))


def _entropy_slope(shares: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(shares, 1e-12)) - 1
