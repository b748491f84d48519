"""How well the gray values of an anatomical scan predict a functional one.

The prediction is the best function of the anatomical values, blurred to the resolution of a functional scan.  The share
of the variance that it explains is the correlation ratio (Roche et al., MICCAI 1998, doi:10.1007/BFb0056301) with the
partial volumes that blur causes.  Information also counts outlines, which all heads have in common; this measure, taken
inside the outline, tells one head from another.
"""

import cv2
import numpy as np

from adasffuse.registration.information import reduced
from adasffuse.registration.transform import identity

_SIDE = 128  # pixels, longer side of the target
_BINS = 16  # of anatomical values
_MOVING_BLUR, _TARGET_BLUR = 1.0, 1.5  # pixels at that side; the functional image is blurred by itself
_DEPENDENT = 1e-3  # smallest singular value of a basis, against the largest


class Prediction:
    """The share of a moving functional image's variance that the target does not predict, as a function of the matrix.

    Args:
        moving, target: (H, W) float32 in [0, 1].
        moving_valid, target_valid: float32, 1 where there is data; the variance is that at the target's pixels with it.
    """

    def __init__(
        self, moving: np.ndarray, moving_valid: np.ndarray, target: np.ndarray, target_valid: np.ndarray
    ) -> None:
        factor = min(1.0, _SIDE / max(target.shape))

        def blurred(image: np.ndarray, spread: float) -> np.ndarray:
            return cv2.GaussianBlur(reduced(image, factor), (0, 0), spread)

        self._moving = blurred(moving * moving_valid, _MOVING_BLUR)
        self._use = reduced(target_valid, factor) > 0.999
        position = (target / max(float(np.percentile(target, 99.9)), 1e-6)).clip(0, 1) * (_BINS - 1)
        shares = [np.maximum(1 - np.abs(position - middle), 0) for middle in range(_BINS)]
        columns = np.stack([blurred(share, _TARGET_BLUR)[self._use] for share in shares], axis=1).astype(np.float64)
        left, strength, _ = np.linalg.svd(columns, full_matrices=False)  # the shares of a pixel add up to 1
        self._basis = left[:, strength > _DEPENDENT * strength.max(initial=0)]
        self._to_moving = identity(moving.shape, self._moving.shape)
        self._to_target = np.linalg.inv(identity(target.shape, self._use.shape))

    def __call__(self, matrix: np.ndarray) -> float:
        """The share, in [0, 1], for a matrix from target to moving pixel positions; 1 for an image without variance."""
        whole = self._to_moving @ matrix @ self._to_target
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        values = cv2.warpPerspective(self._moving, whole, self._use.shape[::-1], flags=flags)[self._use]
        values = values.astype(np.float64) - values.mean() if values.size else np.zeros(0)
        variance = float(values @ values)
        if variance < 1e-9:
            return 1.0
        explained = float(np.square(self._basis.T @ values).sum())
        return max(1 - explained / variance, 1e-9)
