"""Alignment of many pairs: estimated for each pair, or once for two fixed cameras and saved as a calibration file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.files import not_written, told, write_text
from adasffuse.images.image import Image
from adasffuse.images.plane import OTHER_FRAME, matrix_between
from adasffuse.options import load_json
from adasffuse.registration.estimate import Estimate, check_method, estimate
from adasffuse.registration.transform import METHODS, AlignmentError, Transform, TurnedError, corner_shift, warp_image

POSITION = "position"  # method by which DICOM slices are registered
GRIDS = ("b", "a")  # the first one is the default
_FORMAT = "adasffuse calibration 1"
_CURE = "; of two fixed cameras a calibration serves all pairs: adasffuse align A B --save FILE"
_FEWEST_PAIRS = 0.5  # least share of registered pairs for a calibration


@checked
@dataclass(frozen=True)
class Aligner:
    """How the sources of pairs are registered before fusion.

    Args:
        method: 'translation', 'affine', 'homography' or 'deformable', see `adasffuse.registration.estimate`; or
            'position': DICOM slices by where they lie, see `adasffuse.images.plane.matrix_between`.
        grid: 'b' warps source A to the pixels of source B, 'a' the other way round.
        measure: 'edges' or 'medical', see `adasffuse.registration.estimate`.
        calibration: a transform from B's pixels to A's for all pairs, in place of estimates.
    Raises:
        ValueError: unknown method, grid or measure, or an argument of a wrong type.
    """

    method: str = "affine"
    grid: str = "b"
    measure: str = "edges"
    calibration: Transform | None = None

    def __post_init__(self) -> None:
        if self.method != POSITION:
            check_method(self.method, self.measure)
        if self.grid not in GRIDS:
            raise ValueError(f"unknown grid {self.grid!r} of alignment; choose 'b' or 'a'")

    @checked
    def transform(self, a: Image, b: Image) -> Transform:
        """The transform from the pixels of the grid's image to those of the other image.

        Raises:
            ImageError: no plausible estimate, images of other sizes than those of the calibration (AlignmentError), or
                slices that do not say where they lie, or lie apart.
            ValueError: an argument of a wrong type.
        """
        moving, target = (a, b) if self.grid == "b" else (b, a)
        if self.method == POSITION:
            names = ("source B", "source A") if self.grid == "b" else ("source A", "source B")
            matrix = matrix_between(target, moving, names)
            return Transform("affine", matrix, target.pixels.shape[:2], moving.pixels.shape[:2])
        if self.calibration is None:
            try:
                return estimate(moving, target, self.method, self.measure).transform
            except TurnedError:
                raise
            except AlignmentError as error:
                raise AlignmentError(f"{error}{_CURE if self.measure == 'edges' else ''}") from error
        found = self.calibration if self.grid == "b" else self.calibration.inverse()
        wanted, given = (self.calibration.moving_size, self.calibration.size), (a.pixels.shape[:2], b.pixels.shape[:2])
        for name, size, (height, width) in zip("AB", wanted, given):
            if (height, width) != size:
                exchanged = given == wanted[::-1]
                cure = "A and B are exchanged" if exchanged else "calibrate these cameras as they are used"
                raise AlignmentError(
                    f"the calibration is for images {name} of {size[1]}x{size[0]} pixels, got {width}x{height}; {cure}"
                )
        return found

    def settings(self) -> list:
        """All settings that change the result, as JSON values."""
        known = None if self.calibration is None else self.calibration.matrix.tolist()
        return [self.method, self.grid, self.measure, known]

    @checked
    def align(self, images: Sequence[Image]) -> list[Image]:
        """Source A and source B on one grid; the warped one has no data outside its image.

        Raises:
            ImageError: as in `transform`, or there are not two images.
        """
        if len(images) != 2:
            raise AlignmentError(f"alignment takes two sources, got {len(images)}; align stacks by their own options")
        a, b = images
        transform = self.transform(a, b)
        references = {image.plane.frame_of_reference for image in images if image.plane} - {""}
        if self.method == POSITION and len(references) > 1:
            a = replace(a, notices=(*a.notices, OTHER_FRAME.format("the other source")))
        return [warp_image(a, transform), b] if self.grid == "b" else [a, warp_image(b, transform)]


def measure_of(task_id: str) -> str:
    """The measure of a task: 'medical' for medical images, else 'edges'."""
    return "medical" if task_id == "mif" else "edges"


@checked
def calibrate(
    pairs: Iterable[tuple[str, Image, Image]], method: str = "affine", measure: str = "edges"
) -> "Calibration":
    """One transform from B's pixels to A's for two fixed cameras, the median over many pairs.

    Each pair's transform moves the corners of the image to some positions.  The result moves them to the median of
    these positions, so single wrong estimates have no effect.

    Args:
        pairs: name, source A, source B; read one by one.
        method: 'translation', 'affine' or 'homography'.
        measure: as in `Aligner`.
    Returns:
        A `Calibration`.
    Raises:
        AlignmentError: sizes differ among the pairs, too few pairs can be registered, or they do not agree.
        ValueError: unknown method or measure, a deformable one, or an argument of a wrong type.
    """
    check_method(method, measure)
    if method == "deformable":
        raise ValueError("a deformable alignment holds for one pair; calibrate with affine or homography")
    found: list[Estimate] = []
    failed: list[tuple[str, str]] = []
    for name, a, b in pairs:
        try:
            found.append(estimate(a, b, method, measure))
        except AlignmentError as error:
            failed.append((name, str(error)))
            continue
        sizes = [(e.transform.size, e.transform.moving_size) for e in (found[0], found[-1])]
        if sizes[0] != sizes[1]:
            raise AlignmentError(f"{name}: has another size than the pairs before; one calibration serves one size")
    if not found and not failed:
        raise AlignmentError("there is no pair that could be read")
    if not found or len(found) < _FEWEST_PAIRS * (len(found) + len(failed)):
        reason = f"; {failed[0][0]}: {failed[0][1]}" if failed else ""
        raise AlignmentError(
            f"{len(failed)} of {len(found) + len(failed)} pairs cannot be registered{reason}; a calibration "
            "needs pairs taken at the same time, half of them with edges that both show"
        )
    size, moving_size = found[0].transform.size, found[0].transform.moving_size
    matrix = _median_matrix([one.transform.matrix for one in found], size, method)
    spread = float(np.median([corner_shift(one.transform.matrix, matrix, size) for one in found]))
    if len(found) > 1 and spread > 0.05 * moving_size[1]:
        raise AlignmentError(
            f"the pairs do not agree: half of them put the corners {spread:.0f} pixels or more from the median; "
            "were the cameras moved in between?"
        )
    return Calibration(Transform(method, matrix, size, moving_size), len(found), spread, tuple(failed))


@checked
@dataclass(frozen=True)
class Calibration:
    """A transform for two fixed cameras, and its reliability."""

    transform: Transform  # from B's pixels to A's
    pairs: int  # number of pairs that it was estimated from
    spread: float  # median distance of the pairs' corners from the result's, pixels of A
    failed: tuple[tuple[str, str], ...] = ()  # name and reason of pairs that could not be registered

    @checked
    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all.

        Raises:
            AlignmentError: it cannot be written.
        """
        one = self.transform
        content = {
            "format": _FORMAT,
            "method": one.method,
            "size_a": [one.moving_size[1], one.moving_size[0]],
            "size_b": [one.size[1], one.size[0]],
            "matrix_b_to_a": one.matrix.tolist(),
            "pairs": self.pairs,
            "spread": round(self.spread, 3),
        }
        try:
            write_text(path, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise AlignmentError(not_written(path, error)) from error


@checked
def load_calibration(path: str | Path) -> Calibration:
    """Read a calibration file that `Calibration.save` has written.

    Raises:
        AlignmentError: no such file, or it is no calibration.
    """
    try:
        content = load_json(path, "calibration")
    except (OSError, ValueError) as error:
        raise AlignmentError(f"{told(error)}; adasffuse align --save writes calibrations") from error
    try:
        if not isinstance(content, dict) or content["format"] != _FORMAT or content["method"] not in METHODS[:3]:
            raise ValueError("format or method")
        matrix = np.array(content["matrix_b_to_a"], np.float64)
        sizes = [(int(height), int(width)) for width, height in (content["size_b"], content["size_a"])]
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
            raise ValueError("matrix_b_to_a")
        transform = Transform(content["method"], matrix, *sizes)
        return Calibration(transform, int(content["pairs"]), float(content["spread"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AlignmentError(
            f"{path} is no calibration of this program, or is damaged ({error}); write one with adasffuse align --save"
        ) from error


def _median_matrix(matrices: Sequence[np.ndarray], size: tuple[int, int], method: str) -> np.ndarray:
    """The matrix, a homography or affine, from the corners to the median of their positions under the matrices."""
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    moved = [cv2.perspectiveTransform(corners[None], matrix)[0] for matrix in matrices]
    median = np.median(moved, axis=0)
    if method == "homography":
        return cv2.getPerspectiveTransform(corners.astype(np.float32), median.astype(np.float32))
    homogeneous = np.column_stack([corners, np.ones(4)])
    solution = np.linalg.lstsq(homogeneous, median, rcond=None)[0].T
    return np.vstack([solution, [0, 0, 1]])
