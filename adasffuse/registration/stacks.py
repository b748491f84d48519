"""Registration of the images of a stack: shifts of the camera, and the change of scale that comes with focus.

Exposures and focus settings of one scene differ in brightness or in sharpness, so luminance is compared after its local
mean is removed and its local contrast normalised.  OpenCV's `findTransformECC` maximises the correlation of two images
(Evangelidis and Psarakis, IEEE TPAMI 2008, doi:10.1109/TPAMI.2008.113), from coarse to fine; it starts at the shift
with the largest correlation of the smallest copies.
"""

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.registration.transform import AlignmentError, Transform, identity

STACK_METHODS = ("translation", "similarity")
_SIDE = 1280  # pixels of the longer side; larger images are reduced for the registration
_LEVELS = 4
_BLUR = 5  # pixels
_LEAST = 0.3  # correlation below which two images show nothing in common
_LARGEST_SHIFT = 0.1  # of the longer side
_LARGEST_SCALE = 1.15
_NOISE = 0.01  # contrast below which there is nothing to compare
_THUMBNAIL = 160  # pixels of the longer side of a `thumbnail`
_ALIKE = 0.3  # least correlation of thumbnails of one scene


@checked
def register_to(reference: np.ndarray, moving: np.ndarray, method: str, least: float = _LEAST) -> Transform:
    """Register one image of a stack to another one.

    Args:
        reference, moving: luminance (H, W) float32 in [0, 1], of one height and width.
        method: 'translation', or 'similarity' with scale and a small rotation.
        least: correlation of the registered images below which they have too little in common.
    Returns:
        The transform for `warp_image` of the moving image.
    Raises:
        AlignmentError: the images have too little in common, or the estimated movement is too large.
        ValueError: unknown method, other shapes than these, or an argument of a wrong type.
    """
    if method not in STACK_METHODS:
        raise ValueError(f"the images of a stack are registered by {' or '.join(STACK_METHODS)}, got {method!r}")
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise ValueError(f"register_to needs two images (H, W) of one size, got {reference.shape}, {moving.shape}")
    fixed, other = (reduced(image, _SIDE) for image in (reference, moving))
    size = fixed.shape[::-1]
    matrix = np.eye(2, 3, dtype=np.float32)
    levels = [level for level in reversed(range(_LEVELS)) if min(size) * 2.0**-level >= 24 or not level]
    for level in levels:
        scale = 2.0**-level
        small = max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
        pair = [_comparable(cv2.resize(image, small, interpolation=cv2.INTER_AREA)) for image in (fixed, other)]
        if level == levels[0]:
            matrix[:, 2] = _best_shift(*pair)[0] / scale
        matrix[:, 2] *= scale
        matrix = _maximised(*pair, matrix, method)
        matrix[:, 2] /= scale
    matrix, common = _better(*pair, matrix)
    enlarge = identity(fixed.shape, reference.shape)
    whole = enlarge @ np.vstack([matrix, [0, 0, 1]]).astype(np.float64) @ np.linalg.inv(enlarge)
    _check(whole, common, least, reference.shape)
    return Transform("translation" if method == "translation" else "affine", whole, reference.shape, reference.shape)


@checked
def thumbnail(luma: np.ndarray) -> np.ndarray:
    """A reduced image for `same_scene`, at most 160 pixels a side, from luminance (H, W) float32 in [0, 1]."""
    return _comparable(reduced(luma, _THUMBNAIL))


@checked
def same_scene(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two `thumbnail`s of one size show one scene, shifted by up to a tenth of the longer side.

    Neighbours of brackets and focus stacks correlate by 0.8 and more, images of different scenes by up to 0.28; the
    ends of a long bracket may have nothing in common either.
    """
    return _best_shift(one, other)[1] >= _ALIKE


def reduced(luma: np.ndarray, side: int) -> np.ndarray:
    """Luminance (H, W) with a longer side of at most `side` pixels."""
    factor = min(1.0, side / max(luma.shape))
    size = max(8, round(luma.shape[1] * factor)), max(8, round(luma.shape[0] * factor))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)


def _comparable(luma: np.ndarray) -> np.ndarray:
    """Luminance minus its local mean, divided by its local contrast."""
    sigma = max(2.0, max(luma.shape) / 48)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), sigma)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2 * sigma))
    return (detail / (contrast + _NOISE)).astype(np.float32)


def _best_shift(fixed: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """The shift (x, y) in whole pixels, up to `_LARGEST_SHIFT`, with the largest correlation, and that correlation."""
    margin = min(round(_LARGEST_SHIFT * max(fixed.shape)), *((side - 1) // 4 for side in fixed.shape))
    middle = fixed[margin : fixed.shape[0] - margin, margin : fixed.shape[1] - margin]
    _, common, _, best = cv2.minMaxLoc(cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED))
    return np.array(best, np.float32) - margin, common


def _maximised(fixed: np.ndarray, other: np.ndarray, matrix: np.ndarray, method: str) -> np.ndarray:
    """The movement (2, 3) with the largest correlation near a first guess."""
    if min(fixed.std(), other.std()) < 0.05:
        raise AlignmentError("cannot be registered: one of the images has too little content")
    motion = cv2.MOTION_TRANSLATION if method == "translation" else cv2.MOTION_AFFINE
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-5)
    try:
        _, found = cv2.findTransformECC(fixed, other, matrix.copy(), motion, stop, None, _BLUR)
    except cv2.error:
        raise AlignmentError(
            "cannot be registered: the images have too little in common; are they of one scene?"
        ) from None
    return found if method == "translation" else _similar(found, fixed.shape)


def _better(fixed: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The movement (2, 3), or none if the images correlate better without, and the correlation of the better one.

    The search may end at a worse maximum, and the nearest similarity may be far from an affine movement.
    """
    movements = matrix, np.eye(2, 3, dtype=np.float32)
    return max(((one, _correlation(fixed, other, one)) for one in movements), key=lambda pair: pair[1])


def _correlation(fixed: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> float:
    """The correlation of two `_comparable` images after a movement (2, 3), blurred as the search does."""
    size, inverse = fixed.shape[::-1], cv2.WARP_INVERSE_MAP
    fixed, other = (cv2.GaussianBlur(image, (_BLUR, _BLUR), 0) for image in (fixed, other))
    moved = cv2.warpAffine(other, matrix, size, flags=cv2.INTER_LINEAR | inverse)
    inside = cv2.warpAffine(np.full_like(other, 255), matrix, size, flags=cv2.INTER_NEAREST | inverse)
    return cv2.computeECC(fixed, moved, inside.astype(np.uint8))


def _similar(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The similarity that is nearest to an affine movement, by least squares over the image."""
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


def _check(matrix: np.ndarray, common: float, least: float, size: tuple[int, int]) -> None:
    """Raise AlignmentError for a movement that is too large, or too small a correlation."""
    height, width = size
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    shift = float(np.hypot(*(matrix[:2] @ middle - middle[:2])))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    plausible = shift <= _LARGEST_SHIFT * max(size) and 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE
    if common < least or not plausible:
        raise AlignmentError(
            f"cannot be registered: no plausible movement, but correlation {common:.2f}, shift {shift:.1f} pixels, "
            f"scale {scale:.3f}; are the images of one scene?"
        )
