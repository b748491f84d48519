"""Models of the displacements of patches: a matrix of few parameters, or a smooth field."""

import cv2
import numpy as np

from adasffuse.registration.matching import Match

PARAMETERS = {"translation": 2, "affine": 6, "homography": 8}  # degrees of freedom
_RIDGE = 0.05  # weight of the previous displacement in a smooth field, as a share of the mean certainty


class ParametricModel:
    """Translation, affine map or homography, fitted robustly; `matrix` is the last fit, of pixel positions.

    Args:
        centers: (rows, columns, 2), of the patches, pixels.
        method: 'translation', 'affine' or 'homography'.
    """

    def __init__(self, centers: np.ndarray, method: str) -> None:
        self._shape = centers.shape
        self._points = centers.reshape(-1, 2)
        low, high = self._points.min(axis=0), self._points.max(axis=0)
        self._middle, self._scale = (low + high) / 2, max(float((high - low).max()) / 2, 1.0)
        x, y = ((self._points - self._middle) / self._scale).T
        one, zero = np.ones_like(x), np.zeros_like(x)
        rows_x = [one, zero, x, y, zero, zero, x * x, x * y]
        rows_y = [zero, one, zero, zero, x, y, x * y, y * y]
        count = PARAMETERS[method]
        self._basis = np.stack([np.stack(rows_x[:count], -1), np.stack(rows_y[:count], -1)], axis=1)  # (n, 2, count)
        self.matrix = np.eye(3)

    def __call__(self, match: Match, fitted: np.ndarray) -> np.ndarray:
        """Displacements (rows, columns, 2) of the model fitted to the matches; outliers get small weights."""
        best, certainty = match.displacement.reshape(-1, 2), match.certainty.reshape(-1, 2, 2)
        fitted = fitted.reshape(-1, 2)
        count = self._basis.shape[2]
        for _ in range(3):
            distance = np.square(best - fitted).sum(axis=1)
            weight = 1 / np.square(1 + distance / max(float(np.median(distance)), 0.25))
            weighted = np.einsum("n,nij,nja->nia", weight, certainty, self._basis)
            normal = np.einsum("nia,nib->ab", self._basis, weighted)
            right = np.einsum("nia,ni->a", weighted, best)
            normal += (1e-6 * np.trace(normal) + 1e-12) * np.eye(count)
            parameters = np.linalg.solve(normal, right)
            fitted = self._basis @ parameters
        self.matrix = self._matrix(parameters)
        return fitted.reshape(self._shape)

    def _matrix(self, parameters: np.ndarray) -> np.ndarray:
        """The matrix to positions p + displacement; for a homography, to first order in the last two parameters."""
        p = np.zeros(8)
        p[: len(parameters)] = parameters / self._scale
        inner = np.array([[1 + p[2], p[3], p[0]], [p[4], 1 + p[5], p[1]], [-p[6], -p[7], 1]])
        normalise = np.array([[1, 0, -self._middle[0]], [0, 1, -self._middle[1]], [0, 0, self._scale]]) / self._scale
        return np.linalg.inv(normalise) @ inner @ normalise


class SmoothModel:
    """A smooth field: the local mean of the displacements, weighted by their certainty.

    Args:
        spread: standard deviation of the Gaussian window, in patches.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread

    def __call__(self, match: Match, fitted: np.ndarray) -> np.ndarray:
        """Displacements (rows, columns, 2) of the field fitted to the matches."""
        trace = np.einsum("...ii", match.certainty)
        matrices = match.certainty / (1 + trace / max(float(trace.mean()), 1e-9))[..., None, None]
        ridge = _RIDGE * max(float(np.einsum("...ii", matrices).mean()), 1e-9) * np.eye(2)
        pulls = np.einsum("...ij,...j->...i", matrices, match.displacement)
        whole = self._blurred(matrices.reshape(*matrices.shape[:2], 4)).reshape(matrices.shape) + ridge
        right = self._blurred(pulls) + np.einsum("ij,...j->...i", ridge, self._blurred(fitted))
        return np.linalg.solve(whole, right[..., None])[..., 0]

    def _blurred(self, maps: np.ndarray) -> np.ndarray:
        """Gaussian means of up to four maps (rows, columns, n)."""
        return cv2.GaussianBlur(maps.astype(np.float64), (0, 0), self._spread, borderType=cv2.BORDER_REPLICATE)
