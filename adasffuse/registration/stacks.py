"""Registration of the images of a stack: shifts of the camera, and the change of scale that comes with focus.

Exposures and focus settings of one scene differ in brightness or in sharpness, so what is compared is luminance with
its local mean removed and its local contrast made one.  The correlation of two images is maximised by OpenCV's
`findTransformECC` (Evangelidis and Psarakis, IEEE TPAMI 2008, doi:10.1109/TPAMI.2008.113), from coarse to fine.
"""

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.registration.transform import AlignmentError, Transform

STACK_METHODS = ("translation", "similarity")
_SIDE = 640  # pixels of the longer side that is worked at, at most
_LEVELS = 3
_LEAST = 0.3  # correlation below which two images show nothing in common
_LARGEST_SHIFT = 0.1  # of the longer side
_LARGEST_SCALE = 1.15
_NOISE = 0.01  # contrast below which there is nothing to compare


@checked
def register_to(reference: np.ndarray, moving: np.ndarray, method: str) -> Transform:
    """Where the pixels of one image of a stack lie in another one.

    Args:
        reference, moving: luminance (H, W) float32 in [0, 1], of one height and width.
        method: 'translation', or 'similarity', with scale and a small rotation.
    Returns:
        The transform that `warp_image` takes for the moving image.
    Raises:
        AlignmentError: the images have too little in common, or the estimate is no slight movement.
        ValueError: unknown method, other shapes than these, or an argument of a wrong type.
    """
    if method not in STACK_METHODS:
        raise ValueError(f"the images of a stack are registered by {' or '.join(STACK_METHODS)}, got {method!r}")
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise ValueError(f"register_to needs two images (H, W) of one size, got {reference.shape}, {moving.shape}")
    height, width = reference.shape
    factor = min(1.0, _SIDE / max(height, width))
    size = max(8, round(width * factor)), max(8, round(height * factor))
    fixed, other = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (reference, moving))
    matrix = np.eye(2, 3, dtype=np.float32)
    for level in reversed(range(_LEVELS)):
        scale = 2.0**-level
        if min(size) * scale < 24 and level:
            continue
        small = max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
        pair = [_comparable(cv2.resize(image, small, interpolation=cv2.INTER_AREA)) for image in (fixed, other)]
        matrix[:, 2] *= scale
        matrix, common = _maximised(*pair, matrix, method)
        matrix[:, 2] /= scale
    x, y = width / size[0], height / size[1]
    enlarge = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    whole = enlarge @ np.vstack([matrix, [0, 0, 1]]).astype(np.float64) @ np.linalg.inv(enlarge)
    _check(whole, common, (height, width))
    return Transform("translation" if method == "translation" else "affine", whole, (height, width), (height, width))


def _comparable(luma: np.ndarray) -> np.ndarray:
    """Luminance less its local mean, over its local contrast."""
    sigma = max(2.0, max(luma.shape) / 48)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), sigma)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2 * sigma))
    return (detail / (contrast + _NOISE)).astype(np.float32)


def _maximised(fixed: np.ndarray, other: np.ndarray, matrix: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    """The movement (2, 3) of the largest correlation near a first guess, and that correlation."""
    if min(fixed.std(), other.std()) < 0.05:
        raise AlignmentError("an image of the stack has too little content to be registered")
    motion = cv2.MOTION_TRANSLATION if method == "translation" else cv2.MOTION_AFFINE
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-5)
    try:
        common, found = cv2.findTransformECC(fixed, other, matrix.copy(), motion, stop, None, 5)
    except cv2.error:
        raise AlignmentError(
            "an image of the stack cannot be registered: it has too little in common with it"
        ) from None
    return (found if method == "translation" else _similar(found, fixed.shape)), float(common)


def _similar(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The movement with one scale that is nearest to an affine one, over the image."""
    height, width = shape
    x, y = np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5))
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    moved = points @ matrix[:, :2].T.astype(np.float64) + matrix[:, 2]
    rows = np.concatenate(
        [
            np.stack([points[:, 0], -points[:, 1], np.ones(len(points)), np.zeros(len(points))], axis=1),
            np.stack([points[:, 1], points[:, 0], np.zeros(len(points)), np.ones(len(points))], axis=1),
        ]
    )
    a, b, c, d = np.linalg.lstsq(rows, np.concatenate([moved[:, 0], moved[:, 1]]), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]], np.float32)


def _check(matrix: np.ndarray, common: float, size: tuple[int, int]) -> None:
    """Refuse what is no slight movement."""
    height, width = size
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    shift = float(np.hypot(*(matrix[:2] @ middle - middle[:2])))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    plausible = shift <= _LARGEST_SHIFT * max(size) and 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE
    if common < _LEAST or not plausible:
        raise AlignmentError(
            f"an image of the stack cannot be registered: correlation {common:.2f}, shift {shift:.1f} pixels, scale "
            f"{scale:.3f}; is it of this scene?"
        )
