"""Estimating the transform between two images of one scene.

Images of two cameras are registered by their edges (`features`, `matching`), from coarse to fine.  Scans of one patient
are registered by their edges if both are sharp, else by the mutual information of gray values (`information`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.image import Image
from adasffuse.images.levels import luma_of
from adasffuse.images.ranges import steady_extremes
from adasffuse.registration.features import edge_features
from adasffuse.registration.information import COARSE, SHIFTS, Information, distortion, register_by_information
from adasffuse.registration.matching import Correlation, consistent, prominence
from adasffuse.registration.models import ParametricModel, SmoothModel
from adasffuse.registration.palette import palette_values
from adasffuse.registration.prediction import Prediction
from adasffuse.registration.refinement import SmoothInformation, refine_by_information
from adasffuse.registration.stacks import register_to
from adasffuse.registration.transform import (
    METHODS,
    AlignmentError,
    Transform,
    TurnedError,
    corner_shift,
    identity,
)
from adasffuse.registration.turns import TURNS, size_of_turned, turn_matrix


class _Level(NamedTuple):
    """A step from coarse to fine."""

    reduction: int  # factor by which the images are reduced
    radius: int  # largest displacement, pixels of the reduced image
    cell: int  # distance between patches, pixels of the reduced image
    spread: float  # standard deviation of a patch's window, in cells
    smoothness: float = 0.0  # standard deviation of the field's smoothing, in cells


MEASURES = ("edges", "medical", "focus")
_ONE_CAMERA = {"translation": "translation", "affine": "similarity"}  # what two focus settings are registered by
CROSS_MODAL = ("ivf", "mif")  # ids of the tasks whose sources come from two cameras or scanners
_WORK_SIDE = 640  # pixels of the longer side; larger images are reduced for the registration
_SMALLEST_SIDE = 48  # pixels
_FLAT = 2 / 255  # images whose values span less have no content
_LITTLE = 1 / 4  # a deep image whose values span less of its range is registered at the range of its own values
_LEAST = 16 / 65535  # unless they span less than this: rounding noise
_MEASURED_SIDE = 2048  # pixels of the longer side at most that this is measured at
# Registration by edges
_LEVELS = (_Level(4, 8, 8, 1.0), _Level(4, 8, 8, 1.0), _Level(2, 5, 16, 1.0), _Level(1, 3, 24, 0.7))
_FIELD_LEVELS = (
    _Level(4, 8, 6, 1.0, 3.0),
    _Level(4, 6, 6, 1.0, 2.0),
    _Level(2, 5, 8, 1.0, 2.4),
    _Level(1, 3, 16, 0.8, 2.4),
)
_LAST_LEVEL = _Level(1, 2, 24, 0.7)  # repeated once the images are known to have structure in common
_LAST_STEPS, _STILL = 4, 0.03  # at most, and the movement of the corners, pixels, below which they end
_SCALES = (1.0, 0.8, 1.25, 0.65, 1.55, 0.5, 2.0)  # scales of the moving image, tried if the sizes differ
_START_RADIUS = 12  # pixels of the image reduced by the first level: displacements for `prominence`
# Acceptance of an estimate
_CHECK_REDUCTION, _CHECK_RADIUS = 2, 24  # reduction of the images, and displacements in pixels, for `prominence`
_LOWEST_PROMINENCE = 6.0
_LOWEST_ZOOMED_PROMINENCE = 7.0  # of images of one size, tried at several scales: the more starts, the more chances
_LARGEST_SCALE = 1.6  # against the start, each way
_LARGEST_SHIFT = 0.3  # of the width
_SQUARES = 20  # squares of a chessboard along the longer side, see `_certain` and `_bent`
_SIGNIFICANT = 2.0  # standard errors
# Scans; pixels are at a longer side of _MEDICAL_SIDE
_MEDICAL_SIDE = 256
_SHARP = 1.5  # least `_sharpness` of a sharp scan: CT and MRI are above, PET and SPECT below
_SCAN_BLUR, _SCAN_CHECK_BLUR = 1.0, 2.0  # pixels: blur of two sharp scans for registration, and for the check
_LOWEST_SCAN_PROMINENCE = 5.8
_BACKGROUND = 0.04  # values below are background, not head
_RIM = 1 / 16  # width of the rim inside a head's outline that is not checked, of the longer side
_INNER_SHIFT, _LOWEST_INNER_LOSS = 0.06, 0.18  # shift, of the width, and the loss of information that it must cause
_CHECK_SIDE = 128  # pixels of the longer side at which information is checked
_CHECK_SHIFT, _LOWEST_FIT = 0.03, 0.12  # the same for a blurred scan, whose `_fit` an estimate that only shifts needs
_FIT_INSIDE = 0.35  # weight of the part of that fit which is taken inside a head's outline
_FIT_FOR_DISTORTION = 2.0  # more is needed by distortion: wrong pairs are distorted until they fit
# The quick measure of misalignment, on reduced images
_QUICK_SIDE, _QUICK_RADIUS, _QUICK_CELL = 128, 6, 12  # pixels
_QUICK_PEAK = 3.5  # least peak of the correlation, standard deviations
_TURNED_PEAK = 4.5  # the same of an image that is turned or mirrored
_BETTER_TURNED = {True: 0.1, False: 0.2}  # by which the fit of scans that are registered, or not, grows if turned
_NOTABLE = 0.015  # misalignment that is worth a notice, of the width


@dataclass(frozen=True)
class Estimate:
    """The registration of two images."""

    transform: Transform
    shift: float  # mean displacement, pixels of the target; 0 if both images show the same field of view
    information: SmoothInformation | None = None  # of a blurred scan, for `refine_together`


@checked
def estimate(
    moving: Image,
    target: Image,
    method: str = "affine",
    measure: str = "edges",
    names: tuple[str, str] = ("the moving image", "the target"),
) -> Estimate:
    """The transform that takes the moving image to the grid of the target.

    Args:
        moving, target: images of one scene, of any two sizes.  Displacements of up to about 6 % of the width are found;
            between images of different size also a factor of 0.5 to 2 in the field of view.
        method: 'translation'; 'affine'; 'homography', which stays affine unless perspective makes the images agree
            better; or 'deformable': affine plus a smooth field, if a field fitted to one half of the target makes the
            other half agree better.
        measure: 'edges' for two cameras: orientation of edges; or 'medical' for scans of one patient: edges if both are
            sharp, such as CT and MRI, else mutual information of gray values, such as for PET and SPECT; or 'focus' for
            two focus settings of one camera: luminance, see `register_to`, where 'affine' is a shift, a scale and a
            turn; edges if their sizes differ, and by other methods.
        names: what errors call the two.
    Raises:
        AlignmentError: an image is too small or without content, the images have no structure in common, or the
            estimate is not plausible; TurnedError where images of cameras have it if the moving one is turned, see
            `TURNS`.
        ValueError: unknown method or measure, a deformable estimate of scans, or an argument of a wrong type.
    """
    check_method(method, measure)
    if measure == "medical":
        return _estimate_scans(_Pair.of(moving, target, palette_values, names), method, names[0])
    size = target.pixels.shape[:2]
    if measure == "focus" and method in _ONE_CAMERA and moving.pixels.shape[:2] == size:
        named = ((target, names[1]), (moving, names[0]))
        lumas = (_values_and_mask(image, name, luma_of, size)[0] for image, name in named)
        transform = register_to(*lumas, _ONE_CAMERA[method])
        return Estimate(transform, transform.shifts()[0])
    pair = _Pair.of(moving, target, names=names)
    model = "translation" if method == "translation" else "affine"
    matrix, field = _matrix_by_edges(pair, model), None
    if not pair.zoomed and not _in_common(pair, matrix):
        zoomed = replace(pair, zoomed=True)
        other = _matrix_by_edges(zoomed, model)
        if _in_common(zoomed, other, least=_LOWEST_ZOOMED_PROMINENCE):
            pair, matrix = zoomed, other
    if method == "homography":
        tilted = _matrix_by_edges(pair, method)
        if _certain(_agreement(pair, tilted, None) - _agreement(pair, matrix, None), pair.target.shape):
            matrix, model = tilted, method
    if method == "deformable" and _bent(pair, matrix):
        field = _smooth_field(pair, matrix, _FIELD_LEVELS)
    common = _in_common(pair, matrix, field)
    if not common:
        way = _turn_in_common(pair)
        if way:
            raise TurnedError(way, names[0])
    elif field is None:  # after the check, which would let wrong pairs settle where they agree best
        matrix = _settled(pair, matrix, model)
    return pair.finish(matrix, field, method, common)


def refine_together(estimates: Sequence[Estimate], transform: Transform) -> Transform:
    """The transform near another one at which several blurred scans agree best on average.

    A single slice of PET or SPECT hardly tells turn and scale; slices of one head, which share their transform, do.

    Args:
        estimates: of blurred scans of the transform's sizes.
        transform: where the search starts, such as the median of the estimates.
    """
    measures = [one.information for one in estimates]
    down = identity(transform.size, measures[0].size)
    up = identity(measures[0].moving_size, transform.moving_size)
    matrix = np.linalg.inv(up) @ transform.matrix @ np.linalg.inv(down)
    matrix = up @ refine_by_information(measures, matrix, transform.method) @ down
    return replace(transform, matrix=matrix / matrix[2, 2])


@dataclass(frozen=True)
class Glance:
    """What a quick look at two images tells."""

    shift: float | None  # mean displacement, pixels; None where it cannot tell
    turned: str = ""  # the way, of `TURNS`, in which the first one has to be turned to have structure in common
    apart: bool = False  # images of two cameras in which no structure in common was found
    unlike: bool = False  # images of one camera that have nothing in common


@checked
def misalignment(a: Image, b: Image, measure: str = "edges") -> float | None:
    """Mean displacement between two images in pixels, quickly measured on reduced images.

    Shifts of up to about 5 % of the width are found, with an error of about 0.5 % of the width.

    Args:
        measure: as in `estimate`; with 'medical' the result is None if a scan is blurred, such as PET and SPECT, whose
            edges are not where those of a sharp scan are.
    Returns:
        The mean displacement of an affine map; None if the images differ in size, are nearly flat, or have no structure
        in common.
    Raises:
        ValueError: unknown measure, or an argument of a wrong type.
    """
    return _glance(a, b, measure).shift


def _glance(a: Image, b: Image, measure: str) -> Glance:
    check_method("affine", measure)
    height, width = b.pixels.shape[:2]
    if a.pixels.shape[:2] != (height, width) or min(height, width) < _SMALLEST_SIDE:
        return Glance(None)
    factor = min(1.0, _QUICK_SIDE / max(height, width))
    size = (round(height * factor), round(width * factor))
    smalls = []
    for image in (a, b):
        luma = _at_own_range(luma_of(image.pixels), image)
        small = _resized(luma, size)
        valid = None if image.valid is None else _resized(image.valid.astype(np.float32), size) > 0.999
        if not _has_content(small, valid) or (measure == "medical" and _sharpness(luma) < _SHARP):
            return Glance(None)
        smalls.append((small, valid))
    target = edge_features(*smalls[1])
    correlation = Correlation(edge_features(*smalls[0]), target, radius=_QUICK_RADIUS, cell=_QUICK_CELL)
    if correlation.peak() < _QUICK_PEAK:
        if measure == "medical":
            return Glance(None)
        way = _turn_at_a_glance(*smalls[0], target)
        return Glance(None, way, not way)
    start = np.broadcast_to(correlation.common_shift(), correlation.centers.shape)
    shift = consistent(correlation, ParametricModel(correlation.centers, "affine"), start)
    return Glance(float(np.hypot(shift[..., 0], shift[..., 1]).mean()) / factor)


def _turn_at_a_glance(small: np.ndarray, valid: np.ndarray | None, target: np.ndarray) -> str:
    """The way in which a small image has to be turned to have structure in common with another; '' for none.

    Args:
        small, valid: (H, W), and where it holds data.
        target: `edge_features` of the other one, (C, H, W).
    """
    peaks = {}
    for way in TURNS:
        if size_of_turned(way, small.shape) != small.shape:
            continue
        matrix, flags = turn_matrix(way, small.shape)[:2], cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        turned, known = (
            None if one is None else cv2.warpAffine(one, matrix, small.shape[::-1], flags=flags)
            for one in (small, None if valid is None else valid.astype(np.uint8))
        )
        features = edge_features(turned, None if known is None else known > 0)
        peaks[way] = Correlation(features, target, radius=_QUICK_RADIUS, cell=_QUICK_CELL).peak()
    way = max(peaks, key=peaks.get)
    return way if peaks[way] >= _TURNED_PEAK else ""


def notable_misalignment(a: Image, b: Image, measure: str = "edges") -> Glance | None:
    """What a quick look tells if it may be worth a notice, else None: shifts count from 1.5 % of the width on."""
    seen = _glance(a, b, measure)
    off = seen.shift is not None and seen.shift >= _NOTABLE * b.pixels.shape[1]
    return seen if off or seen.turned or seen.apart else None


def turn_of_scan(a: Image, b: Image, registered: bool) -> str:
    """The way, of `TURNS`, in which scan A has to be turned to fit B clearly better than as it lies; '' for none.

    Heads are nearly symmetrical, so that mirrored scans can be registered: only their inside tells them.

    Args:
        registered: whether they were registered; then one that is turned needs more than a shift to fit as well.
    """
    if a.pixels.shape[:2] != b.pixels.shape[:2]:
        return ""
    try:
        return _turn_of_scan(_Pair.of(a, b, palette_values), registered)
    except AlignmentError:  # too small, or without content
        return ""


def check_method(method: str, measure: str = "edges") -> None:
    """Raise ValueError for an unknown method or measure, or a combination that does not work."""
    if method not in METHODS:
        raise ValueError(f"unknown method of alignment {method!r}; choose {', '.join(METHODS)}")
    if measure not in MEASURES:
        raise ValueError(f"unknown measure of alignment {measure!r}; choose {', '.join(MEASURES)}")
    if measure == "medical" and method == "deformable":
        raise ValueError("deformable alignment is for cameras; with measure 'medical' choose affine")


@dataclass(frozen=True)
class _Pair:
    """Luminance, or other gray values, of two images at the working size, with masks of valid pixels."""

    moving: np.ndarray  # (H, W) float32
    moving_valid: np.ndarray  # (H, W) float32, 1 where there is data
    target: np.ndarray
    target_valid: np.ndarray
    start: np.ndarray  # (3, 3) matrix for images of the same field of view
    moving_size: tuple[int, int]  # size of the original images
    target_size: tuple[int, int]
    zoomed: bool  # their fields of view may differ much: images of two sizes, or of one that do not agree as they come

    @staticmethod
    def of(
        moving: Image,
        target: Image,
        values: Callable[[np.ndarray], np.ndarray] = luma_of,
        names: tuple[str, str] = ("the moving image", "the target"),
    ) -> "_Pair":
        moving_size, target_size = moving.pixels.shape[:2], target.pixels.shape[:2]
        size = _work_size(target_size)
        ratio = max(size[0] / moving_size[0], size[1] / moving_size[1])
        scaled = max(8, round(moving_size[0] * ratio)), max(8, round(moving_size[1] * ratio))
        return _Pair(
            *_values_and_mask(moving, names[0], values, scaled),
            *_values_and_mask(target, names[1], values, size),
            start=identity(size, scaled),
            moving_size=moving_size,
            target_size=target_size,
            zoomed=moving_size != target_size,
        )

    def lumas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.moving, self.moving_valid, self.target, self.target_valid

    def turned(self, way: str) -> "_Pair":
        """The pair that starts with its moving image turned in one of the `TURNS`."""
        size = self.moving.shape
        start = turn_matrix(way, size) @ identity(self.target.shape, size_of_turned(way, size))
        zoomed = self.zoomed and size_of_turned(way, self.moving_size) != self.target_size
        return replace(self, start=start, zoomed=zoomed)

    def blurred(self, spread: float) -> "_Pair":
        """The pair blurred by a Gaussian of standard deviation `spread`, in pixels."""
        moving, target = (cv2.GaussianBlur(image, (0, 0), spread) for image in (self.moving, self.target))
        return replace(self, moving=moving, target=target)

    def features(
        self, matrix: np.ndarray, reduction: int, field: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edge features (C, H, W) of the warped moving image and of the target, both reduced by a factor."""
        height, width = (max(8, round(side / reduction)) for side in self.target.shape)
        small = _resized(self.moving, [max(8, round(side / reduction)) for side in self.moving.shape])
        small_valid = _resized(self.moving_valid, small.shape)
        down, up = identity(self.target.shape, (height, width)), identity(small.shape, self.moving.shape)
        whole = np.linalg.inv(up) @ matrix @ np.linalg.inv(down)
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
        if field is not None:
            grid += cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA) / (
                self.target.shape[1] / width,
                self.target.shape[0] / height,
            )
        x, y = np.moveaxis(cv2.perspectiveTransform(grid, whole).astype(np.float32), -1, 0)
        warped = cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.remap(small_valid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        target = _resized(self.target, (height, width))
        target_known = _resized(self.target_valid, (height, width))
        return edge_features(warped, known > 0.999), edge_features(target, target_known > 0.999)

    def starts(self) -> list[np.ndarray]:
        """Matrices to begin with: the start; where fields of view may differ, at several scales about the center."""
        if not self.zoomed:
            return [self.start]
        x, y = (self.moving.shape[1] - 1) / 2, (self.moving.shape[0] - 1) / 2
        zooms = [np.array([[one, 0, x * (1 - one)], [0, one, y * (1 - one)], [0, 0, 1]]) for one in _SCALES]
        return [zoom @ self.start for zoom in zooms]

    def finish(self, matrix: np.ndarray, field: np.ndarray | None, method: str, common: bool) -> Estimate:
        """The estimate for the original sizes.

        Args:
            common: whether the registered images have structure in common.
        Raises:
            AlignmentError: they have none in common, or the estimate is not plausible.
        """
        if not common:
            raise AlignmentError("cannot register: the images have no structure in common that could be found")
        linear = np.linalg.solve(self.start, matrix)
        stretch = np.linalg.svd(linear[:2, :2], compute_uv=False)
        limit = 2 * _LARGEST_SCALE if self.zoomed else _LARGEST_SCALE
        if stretch.max() > limit or stretch.min() < 1 / limit or np.linalg.det(linear[:2, :2]) <= 0:
            raise AlignmentError(
                f"the estimated alignment is not plausible: it scales by {stretch.min():.2f} to {stretch.max():.2f}"
            )
        down = identity(self.target_size, self.target.shape)
        up = identity(self.moving.shape, self.moving_size)
        whole = up @ matrix @ down
        if field is not None:
            field = cv2.resize(
                field, [max(2, -(-side // 8)) for side in self.target.shape[::-1]], interpolation=cv2.INTER_AREA
            )
            field = field * np.float32(
                [self.target_size[1] / self.target.shape[1], self.target_size[0] / self.target.shape[0]]
            )
        transform = Transform(method, whole / whole[2, 2], self.target_size, self.moving_size, field)
        shift, _ = transform.shifts()
        if not self.zoomed and shift > _LARGEST_SHIFT * self.target_size[1]:
            raise AlignmentError(
                f"the estimated alignment is not plausible: it moves the image by {shift:.0f} pixels on average"
            )
        return Estimate(transform, shift)


def _values_and_mask(
    image: Image, name: str, values: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Gray values of an image and its mask of pixels with data, both float32 of a height and width.

    Raises:
        AlignmentError: the image, called by its name, is too small or without content.
    """
    height, width = image.pixels.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        raise AlignmentError(f"cannot register: {name} is {width}x{height} pixels, {_SMALLEST_SIDE} a side are needed")
    valid = np.ones((height, width), np.float32) if image.valid is None else image.valid.astype(np.float32)
    luma = _at_own_range(values(image.pixels), image)
    if not _has_content(luma, image.valid):
        low, high = image.window
        cure = f" at its range {low:g} to {high:g}; if its values are others, give theirs: --range_a, --range_b"
        cure = "" if image.depth == "8" else cure
        raise AlignmentError(f"cannot register: {name} is flat and shows nothing to register by{cure}")
    return _resized(luma, size), _resized(valid, size)


def _matrix_by_edges(pair: _Pair, method: str) -> np.ndarray:
    """The matrix from coarse to fine, from that start at which the images agree best after the first step."""
    first, *further = _LEVELS
    found = [_refine(pair, start, first, method) for start in pair.starts()]
    matrix = found[0]
    if len(found) > 1:
        matrix = max(found, key=lambda one: prominence(*pair.features(one, first.reduction), _START_RADIUS))
    for level in further:
        matrix = _refine(pair, matrix, level, method)
    return matrix


def _settled(pair: _Pair, matrix: np.ndarray, method: str) -> np.ndarray:
    """A matrix by edges, improved until it stays where it is.

    Displacements are held near those of the model, so one step stops short of where the images agree best.
    """
    for _ in range(_LAST_STEPS):
        before, matrix = matrix, _refine(pair, matrix, _LAST_LEVEL, method)
        if corner_shift(matrix, before, pair.target.shape) < _STILL:
            break
    return matrix


def _in_common(
    pair: _Pair, matrix: np.ndarray, field: np.ndarray | None = None, least: float = _LOWEST_PROMINENCE
) -> bool:
    """Whether two registered images of cameras have structure in common."""
    return prominence(*pair.features(matrix, _CHECK_REDUCTION, field), _CHECK_RADIUS) >= least


def _turn_in_common(pair: _Pair) -> str:
    """The way in which the moving image has to be turned to have structure in common with the target; '' for none.

    The way is chosen by a first step at the lowest resolution.
    """
    first = _LEVELS[0]

    def promise(way: str) -> float:
        turned = pair.turned(way)
        found = (_refine(turned, start, first, "affine") for start in turned.starts())
        return max(prominence(*pair.features(matrix, first.reduction), _START_RADIUS) for matrix in found)

    way = max(TURNS, key=promise)
    return way if _in_common(pair, _matrix_by_edges(pair.turned(way), "affine")) else ""


def _turn_of_scan(pair: _Pair, registered: bool) -> str:
    """`turn_of_scan`, the moving one against the target.

    Compared are information and prediction inside the outline, each at the best place nearby.
    """
    inside = _inner(pair).lumas()
    information, prediction = Information(*inside, side=_CHECK_SIDE), Prediction(*inside)

    def fit(matrix: np.ndarray) -> float:
        return float(np.log(max(information(matrix), 1e-9)) - np.log(prediction(matrix)))

    def nearby(start: np.ndarray, stages: Sequence) -> float:
        return fit(register_by_information(*pair.lumas(), start, stages=stages))

    stages = COARSE if registered else SHIFTS
    untouched = max(fit(pair.start), nearby(pair.start, stages))
    ways = [way for way in TURNS if size_of_turned(way, pair.moving.shape) == pair.moving.shape]
    turned = {way: nearby(pair.turned(way).start, SHIFTS) for way in ways}
    way = max(turned, key=turned.get)
    if registered:  # which nearly symmetrical heads are most often if they are mirrored
        turned |= {one: nearby(pair.turned(one).start, stages) for one in (way, "mirrored left to right")}
        way = max(turned, key=turned.get)
    return way if turned[way] - untouched >= _BETTER_TURNED[registered] else ""


def _estimate_scans(pair: _Pair, method: str, name: str) -> Estimate:
    """`estimate` for scans: by edges if both are sharp, else by information; `name` is that of the moving one."""
    sharp = min(_sharpness(pair.moving), _sharpness(pair.target)) >= _SHARP
    match = _match_sharp if sharp else _match_blurred
    matrix, common = match(pair, method)
    if not common:
        way = _turn_of_scan(pair, registered=False)
        if way and match(pair.turned(way), method)[1]:
            raise TurnedError(way, name)
    if sharp:
        return pair.finish(_settled(_smoothed(pair), matrix, method) if common else matrix, None, method, common)
    information = SmoothInformation(*pair.lumas())
    matrix = refine_by_information([information], matrix, method)
    return replace(pair.finish(matrix, None, method, common), information=information)


def _smoothed(pair: _Pair) -> _Pair:
    """Sharp scans as they are registered by edges."""
    return pair.blurred(_SCAN_BLUR * max(pair.target.shape) / _MEDICAL_SIDE)


def _match_sharp(pair: _Pair, method: str) -> tuple[np.ndarray, bool]:
    """The matrix of two sharp scans, and whether they have structure in common under it."""
    matrix = _matrix_by_edges(_smoothed(pair), method)
    blur = _SCAN_CHECK_BLUR * max(pair.target.shape) / _MEDICAL_SIDE
    features = pair.blurred(blur).features(matrix, _CHECK_REDUCTION)
    common = prominence(*features, _CHECK_RADIUS) >= _LOWEST_SCAN_PROMINENCE
    return matrix, common and _information_lost(_inner(pair), matrix, _INNER_SHIFT) >= _LOWEST_INNER_LOSS


def _match_blurred(pair: _Pair, method: str) -> tuple[np.ndarray, bool]:
    """The same of two scans of which one is blurred.

    It is checked before the refinement, which fits wrong pairs by distortion.
    """
    matrix = register_by_information(*pair.lumas(), pair.start, method)
    wanted = _LOWEST_FIT + _FIT_FOR_DISTORTION * distortion(np.linalg.solve(pair.start, matrix))
    return matrix, _fit(pair, matrix) >= wanted


def _fit(pair: _Pair, matrix: np.ndarray) -> float:
    """How much shifts cost: of the information, and of the prediction of a functional image inside the outline."""
    measure = Prediction(*_inner(pair).lumas())
    shifted = [measure(matrix @ shift) for shift in _shifts(pair, _CHECK_SHIFT)]
    worse = float(np.log(np.mean(shifted) / measure(matrix)))
    return _information_lost(pair, matrix, _CHECK_SHIFT) + _FIT_INSIDE * worse


def _inner(pair: _Pair) -> _Pair:
    """The pair with data only inside the outline of a head before black, without a rim."""
    image = pair.target
    pixel = max(image.shape) / _MEDICAL_SIDE
    shown = (cv2.GaussianBlur(image, (0, 0), 3 * pixel) > _BACKGROUND).astype(np.uint8)
    outlines = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    filled = cv2.drawContours(np.zeros_like(shown), outlines, -1, 1, cv2.FILLED)
    side = 2 * round(_RIM * max(image.shape)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    inside = cv2.erode(filled, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return replace(pair, target_valid=pair.target_valid * inside)


def _sharpness(image: np.ndarray) -> float:
    """Ratio of the strongest gradients under a blur of 0.7 pixels to those under a blur of 2 pixels."""
    factor = min(1.0, _MEDICAL_SIDE / max(image.shape))
    small = _resized(image, [max(8, round(side * factor)) for side in image.shape])
    strengths = []
    for spread in (0.7, 2.0):
        smooth = cv2.GaussianBlur(small, (0, 0), spread)
        gradient = np.hypot(*(cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))))
        strengths.append(float(np.percentile(gradient, 99)))
    return strengths[0] / max(strengths[1], 1e-9)


def _refine(pair: _Pair, matrix: np.ndarray, level: _Level, method: str) -> np.ndarray:
    """The matrix improved at one level."""
    a, b = pair.features(matrix, level.reduction)
    correlation = Correlation(a, b, level.radius, level.cell, level.spread)
    model = ParametricModel(correlation.centers, method)
    start = np.broadcast_to(correlation.common_shift(), correlation.centers.shape)
    consistent(correlation, model, start)
    down = identity(pair.target.shape, b.shape[1:])
    return matrix @ np.linalg.inv(down) @ model.matrix @ down


def _bent(pair: _Pair, matrix: np.ndarray) -> bool:
    """Whether a smooth field improves on the matrix, by cross-validation.

    One field is fitted to the black squares of a chessboard, another to the white ones; each is judged by the agreement
    of the features on the other squares.  Fields that follow noise make it worse.
    """
    height, width = pair.target.shape
    y, x = np.mgrid[:height, :width] // _square_side(pair.target.shape)
    white = ((y + x) % 2).astype(np.float32)
    without = _agreement(pair, matrix, None)
    gain = np.zeros_like(without)
    for fitted in (white, 1 - white):
        field = _smooth_field(pair, matrix, _FIELD_LEVELS[:3], fitted)
        other = _resized(fitted, without.shape) < 0.5
        gain[other] = (_agreement(pair, matrix, field) - without)[other]
    return _certain(gain, pair.target.shape)


def _certain(gain: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the mean of a gain map is significantly above 0, judged by its means over the squares of a chessboard.

    Args:
        gain: (H, W), at any reduction.
        size: size of the image.
    """
    side = _square_side(size)
    squares = cv2.resize(gain, [max(2, length // side) for length in size[::-1]], interpolation=cv2.INTER_AREA)
    return float(squares.mean()) > _SIGNIFICANT * float(squares.std()) / np.sqrt(squares.size)


def _square_side(size: tuple[int, int]) -> int:
    return max(8, round(max(size) / _SQUARES))


def _agreement(pair: _Pair, matrix: np.ndarray, field: np.ndarray | None) -> np.ndarray:
    """(H, W) product of the features of both images, at half the working size."""
    return np.einsum("chw,chw->hw", *pair.features(matrix, 2, field))


def _smooth_field(
    pair: _Pair, matrix: np.ndarray, levels: Sequence[_Level], weight: np.ndarray | None = None
) -> np.ndarray:
    """Estimate a displacement (H, W, 2) at the working size, applied before the matrix, from coarse to fine.

    Args:
        weight: (H, W) in [0, 1], weight of each pixel of the target; None: 1.
    """
    height, width = pair.target.shape
    field = np.zeros((height, width, 2), np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for level in levels:
        a, b = pair.features(matrix, level.reduction, field)
        if weight is not None:
            b = b * _resized(weight, b.shape[1:])
        correlation = Correlation(a, b, level.radius, level.cell, level.spread)
        found = consistent(correlation, SmoothModel(level.smoothness), np.zeros_like(correlation.centers))
        more = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        more *= np.float32([width / b.shape[2], height / b.shape[1]])
        before = cv2.remap(field, x + more[..., 0], y + more[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        field = more + before
    return field


def _information_lost(pair: _Pair, matrix: np.ndarray, share: float) -> float:
    """The share of the registered images' information that is lost by shifts, on average over eight directions.

    Slices of different heads share information by their outlines; only details of one head lose much by small shifts.

    Args:
        share: length of the shifts as a share of the target's width.
    """
    measure = Information(*pair.lumas(), side=_CHECK_SIDE)
    others = [measure(matrix @ shift) for shift in _shifts(pair, share)]
    return 1 - float(np.mean(others)) / max(measure(matrix), 1e-12)


def _shifts(pair: _Pair, share: float) -> list[np.ndarray]:
    """(3, 3) matrices that shift by a share of the target's width in eight directions."""
    far, shifts = share * pair.target.shape[1], []
    for angle in np.arange(8) * (np.pi / 4):
        shift = np.eye(3)
        shift[:2, 2] = far * np.cos(angle), far * np.sin(angle)
        shifts.append(shift)
    return shifts


def _at_own_range(luma: np.ndarray, image: Image) -> np.ndarray:
    """Gray values (H, W) of an image; those of a deep one that uses little of its range are spread over [0, 1].

    Counts of a thermal camera take some hundredths of 16 bits, so that edges are too weak to be told from none.
    """
    if image.depth == "8":
        return luma
    step = -(-max(luma.shape) // _MEASURED_SIDE)
    some = np.s_[::step, ::step]
    low, high = steady_extremes(luma[some], None if image.valid is None else image.valid[some]) or (0.0, 1.0)
    if not _LEAST <= high - low < _LITTLE:
        return luma
    spread = luma - np.float32(low)
    spread /= np.float32(high - low)
    return spread.clip(0, 1, out=spread)


def _has_content(luma: np.ndarray, valid: np.ndarray | None) -> bool:
    """Whether the values, without 0.5 % at each end, span more than rounding noise."""
    values = luma if valid is None else luma[valid]
    return values.size > 0 and float(np.ptp(np.percentile(values, (0.5, 99.5)))) > _FLAT


def _work_size(size: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, _WORK_SIDE / max(size))
    return max(8, round(size[0] * factor)), max(8, round(size[1] * factor))


def _resized(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    height, width = size
    if values.shape == (height, width):
        return values
    shrinks = height <= values.shape[0] and width <= values.shape[1]
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
