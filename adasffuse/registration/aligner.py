"""Alignment of many pairs: estimated for each pair, or once for all and saved as a calibration file.

Pairs of two fixed cameras share a transform, and so do slices of one head.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.files import write_text
from adasffuse.images.image import Image
from adasffuse.images.plane import OTHER_FRAME, matrix_between
from adasffuse.messages import not_written, told
from adasffuse.options import load_json
from adasffuse.registration.estimate import Estimate, check_method, estimate, refine_together
from adasffuse.registration.transform import (
    METHODS,
    AlignmentError,
    BesideError,
    Transform,
    TurnedError,
    corner_shift,
    identity,
    warp_image,
)

POSITION = "position"  # method by which DICOM slices are registered
IGNORE = "ignore"  # method by which they are not, wherever they say that they lie
GRIDS = ("b", "a")  # the first one is the default
_FORMAT = "adasffuse calibration 1"
_CURE = "; of two fixed cameras a calibration serves all pairs: adasffuse align A B --save FILE"
_FEWEST_PAIRS = 0.5  # least share of registered pairs for a calibration
_LARGEST_SPREAD = 0.05  # of the pairs of a calibration, of the width
_LARGEST_BLURRED_SPREAD = 0.1  # the same of slices of PET or SPECT, which tell turn and scale only together
_SAMPLES = 17  # positions a side at which a matrix is looked at
_LARGEST_SCALE = 5.0  # of the field of view, each way: estimates stay below 3.2, lenses may differ more


@checked
@dataclass(frozen=True)
class Aligner:
    """How the sources of pairs are registered before fusion.

    Args:
        method: 'translation', 'affine', 'homography' or 'deformable', see `adasffuse.registration.estimate`; or
            'position': DICOM slices by where they lie, see `adasffuse.images.plane.matrix_between`; or 'ignore': equal
            pixels show the same place, whatever DICOM files say.
        grid: 'b' warps source A to the pixels of source B, 'a' the other way round.
        measure: 'edges', 'medical' or 'focus', see `adasffuse.registration.estimate`.
        calibration: a transform from B's pixels to A's for all pairs, in place of estimates.
    Raises:
        ValueError: unknown method, grid or measure, or an argument of a wrong type.
    """

    method: str = "affine"
    grid: str = "b"
    measure: str = "edges"
    calibration: Transform | None = None

    def __post_init__(self) -> None:
        if self.method not in (POSITION, IGNORE):
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
        if self.method == IGNORE:
            return Transform("translation", np.eye(3), b.pixels.shape[:2], a.pixels.shape[:2])
        names = ("source A", "source B") if self.grid == "b" else ("source B", "source A")
        if self.method == POSITION:
            matrix = matrix_between(target, moving, names[::-1])
            return Transform("affine", matrix, target.pixels.shape[:2], moving.pixels.shape[:2])
        if self.calibration is None:
            try:
                return estimate(moving, target, self.method, self.measure, names).transform
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
            raise AlignmentError(
                f"an Aligner takes two sources, got {len(images)}; stacks are registered by "
                'fuse_stack(fuser, images, StackOptions(align="similarity")) of adasffuse.inference.stack'
            )
        a, b = images
        if self.method == IGNORE:
            sizes = [f"{image.pixels.shape[1]}x{image.pixels.shape[0]}" for image in images]
            if sizes[0] != sizes[1]:
                raise AlignmentError(f"sizes differ, {' and '.join(sizes)}: there are no equal pixels to be fused")
            return [replace(one, plane=None if one.plane is None else one.plane.without_place()) for one in images]
        transform = self.transform(a, b)
        references = {image.plane.frame_of_reference for image in images if image.plane} - {""}
        if self.method == POSITION and len(references) > 1:
            a = replace(a, notices=(*a.notices, OTHER_FRAME.format("the other source")))
        try:
            return [warp_image(a, transform), b] if self.grid == "b" else [a, warp_image(b, transform)]
        except BesideError:
            if self.method == POSITION:
                raise AlignmentError(
                    "the sources have no place in common, as their files say; give files of one place"
                ) from None
            raise


def measure_of(task_id: str) -> str:
    """The measure of a task: 'medical' for medical images, 'focus' for focus settings, else 'edges'."""
    return {"mif": "medical", "mff": "focus"}.get(task_id, "edges")


@checked
def calibrate(
    pairs: Iterable[tuple[str, Image, Image]], method: str = "affine", measure: str = "edges"
) -> "Calibration":
    """One transform from B's pixels to A's for two fixed cameras, or slices of one head: the median over many pairs.

    Each pair's transform moves the corners of the image to some positions.  The result moves them to the median of
    these positions, so single wrong estimates have no effect.  Slices of PET or SPECT and MRI, all of one head, are
    then refined together, see `refine_together`.

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
            found.append(estimate(a, b, method, measure, ("source A", "source B")))
        except AlignmentError as error:
            failed.append((name, str(error)))
            continue
        sizes = [(e.transform.size, e.transform.moving_size) for e in (found[0], found[-1])]
        if sizes[0] != sizes[1]:
            raise AlignmentError(f"{name}: has another size than the pairs before; one calibration serves one size")
    if not found and not failed:
        raise AlignmentError("there is no pair that could be read")
    if not found or len(found) < _FEWEST_PAIRS * (len(found) + len(failed)):
        needs = "pairs taken at the same time, half of them with edges that both show"
        if measure == "medical":
            needs = "slices of one head, half of them with structure that both show"
        raise AlignmentError(
            f"{len(failed)} of {len(found) + len(failed)} pairs cannot be registered; {failed[0][0]}: {failed[0][1]}; "
            f"a calibration needs {needs}"
        )
    size, moving_size = found[0].transform.size, found[0].transform.moving_size
    matrix = _median_matrix([one.transform.matrix for one in found], size, method)
    blurred = all(one.information for one in found)
    if blurred and len(found) > 1:
        matrix = refine_together(found, Transform(method, matrix, size, moving_size)).matrix
    spread = float(np.median([corner_shift(one.transform.matrix, matrix, size) for one in found]))
    if len(found) > 1 and spread > (_LARGEST_BLURRED_SPREAD if blurred else _LARGEST_SPREAD) * moving_size[1]:
        doubt = "are they slices of one head?" if measure == "medical" else "were the cameras moved in between?"
        raise AlignmentError(
            f"the pairs do not agree: half of them put the corners {spread:.0f} pixels or more from the result; {doubt}"
        )
    return Calibration(Transform(method, matrix, size, moving_size), len(found), spread, tuple(failed))


@checked
@dataclass(frozen=True)
class Calibration:
    """A transform for two fixed cameras, or for slices of one head, and its reliability."""

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
        AlignmentError: no such file, or it is no calibration, or its fields cannot be those of one: a matrix that
            mirrors the image or has no inverse, scales it by more than 5, or sends it off the other one.
    """
    try:
        content = load_json(path, "calibration")
    except (OSError, ValueError) as error:
        raise AlignmentError(f"{told(error)}; adasffuse align --save writes calibrations") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise AlignmentError(f"{path} is no calibration of this program; adasffuse align --save writes one")
    try:
        return _calibration_of(content)
    except ValueError as error:
        raise AlignmentError(f"{path}: {error}; adasffuse align --save writes a new calibration") from error


def _calibration_of(content: dict[str, Any]) -> Calibration:
    """What a calibration file holds; raises ValueError that names the field which is missing or cannot be."""
    for field in ("method", "size_a", "size_b", "matrix_b_to_a", "pairs", "spread"):
        if field not in content:
            raise ValueError(f"{field} is missing")
    method, pairs, spread = content["method"], content["pairs"], content["spread"]
    if method not in METHODS[:3]:
        raise ValueError(f"method is one of {', '.join(METHODS[:3])}, got {method!r}")
    if type(pairs) is not int or pairs < 1:
        raise ValueError(f"pairs is a number of pairs, got {pairs!r}")
    if type(spread) not in (int, float) or not 0 <= spread < np.inf:
        raise ValueError(f"spread is a number of pixels, got {spread!r}")
    for field in ("size_a", "size_b"):
        size = content[field]
        if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"{field} is width and height in pixels, got {size!r}")
    moving_size, size = (tuple(reversed(content[field])) for field in ("size_a", "size_b"))
    try:
        matrix = np.array(content["matrix_b_to_a"], np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise ValueError("matrix_b_to_a is three rows of three numbers")
    matrix = matrix / (matrix[2, 2] or 1.0)
    wrong = _impossible(matrix, size, moving_size, method)
    if wrong:
        raise ValueError(f"matrix_b_to_a {wrong}; is it the matrix from B's pixels to A's, for images of these sizes?")
    return Calibration(Transform(method, matrix, size, moving_size), pairs, float(spread))


def _impossible(matrix: np.ndarray, size: tuple[int, int], moving_size: tuple[int, int], method: str) -> str:
    """What a matrix from the pixels of B to those of A does that a calibration does not, '' for nothing.

    Args:
        size, moving_size: height and width of B and of A.
    """
    if method != "homography" and not np.array_equal(matrix[2], [0, 0, 1]):
        return f"has a last row other than 0, 0, 1 though its method is {method}"
    height, width = size
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, _SAMPLES), np.linspace(0, height - 1, _SAMPLES)), axis=-1)
    depth = grid @ matrix[2, :2] + matrix[2, 2]
    if depth.min() <= 0:
        return "sends points of B to infinity"
    places = cv2.perspectiveTransform(grid, matrix)
    whole = identity(size, moving_size)
    right, down = np.diff(places[:-1], axis=1) / whole[0, 0], np.diff(places[:, :-1], axis=0) / whole[1, 1]
    right, down = right * (_SAMPLES - 1) / max(width - 1, 1), down * (_SAMPLES - 1) / max(height - 1, 1)
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    if area.min() <= 0:
        return "mirrors the image" if area.max() < 0 else "has no inverse"
    scales = np.sqrt(area)
    if scales.max() > _LARGEST_SCALE or scales.min() < 1 / _LARGEST_SCALE:
        return f"scales the field of view by {scales.min():.2g} to {scales.max():.2g}"
    inside = (places >= 0) & (places <= np.array(moving_size[::-1]) - 1)
    if not inside.all(axis=-1).any():
        return "sends all of B beside A"
    return ""


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
