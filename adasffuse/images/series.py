"""DICOM series: the slices of a folder, or the frames of one file, as a volume."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adasffuse.images.dicom import (
    NoImageError,
    count_frames,
    damage_named,
    decode_dicom,
    frames_have_places,
    is_document,
    open_dicom,
    plane_of,
    position_of,
    tags_of_frame,
)
from adasffuse.images.extras import import_optional
from adasffuse.images.formats import HEAD, is_dicom
from adasffuse.images.image import ImageError, Plane
from adasffuse.images.stored import Stored
from adasffuse.images.volume_grid import Volume
from adasffuse.messages import first_of

_TABLE = "DICOMDIR"  # of a medium: a table of its files, not a slice
_SAME_GAP = 0.1  # of the usual distance of slices, by which distances may differ
_SAME_TAG = 1e-3  # by which spacing (mm) and direction (cosines) may differ within a series


@dataclass(frozen=True)
class _Slice:
    """One image of a DICOM series."""

    path: Path
    data_set: Any  # of the file
    frame: int  # its number in the file
    tags: Any  # what holds for this frame
    plane: Plane  # where it lies
    position: float  # along the series, mm
    name: str  # for messages, without the folder


def holds_series(folder: str | Path) -> bool:
    """Whether a folder holds DICOM files itself."""
    return any(
        path.is_file() and is_dicom_file(path) for path in Path(folder).iterdir() if not path.name.startswith(".")
    )


def series_below(folder: str | Path) -> Iterator[Path]:
    """The folders that hold DICOM images: a folder itself, or else those below it, as patient/study/series."""
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        slices = (Path(place, name) for name in files if not name.startswith(".") and name.upper() != _TABLE)
        if any(path.is_file() and is_dicom_file(path) and not is_document(path) for path in slices):
            names.clear()
            yield Path(place)


def read_series(folder: str | Path) -> Volume:
    """Read the DICOM slices of a folder, or of the only one below it, sorted by place; errors as `read_volume`."""
    folder = Path(folder)
    places = list(series_below(folder))
    if places:
        import_optional("pydicom", folder)  # which tells images from other files
    if len(places) > 1:
        names = first_of([str(place.relative_to(folder)) for place in places])
        raise ImageError(f"{folder}: holds {len(places)} folders of DICOM files, {names}; give one alone, or keep one")
    folder = places[0] if places else folder
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name.upper() != _TABLE]
    for path in files:
        if path.suffix.lower() == ".dcm" and not is_dicom_file(path):
            raise ImageError(f"{path}: damaged, no DICOM file by its content; export it again or take it out")
    found = [path for path in files if is_dicom_file(path)]
    if not found:
        raise ImageError(f"{folder}: holds no DICOM files; expected one series")
    images, documents = [], []
    for path in found:
        try:
            images.append((path, open_dicom(path)[3]))
        except NoImageError:
            documents.append(path.name)
    if not images:
        raise ImageError(f"{folder}: holds no DICOM files with images, only {first_of(documents)}; expected one series")
    volume = _from_files(folder, images)
    if not documents:
        return volume
    left_out = f"also holds DICOM files without images, {first_of(documents)}; they are left out"
    return replace(volume, notices=(*volume.notices, left_out))


def read_frames(path: Path) -> Volume:
    """Read the frames of one DICOM file, sorted by place; errors as `read_volume`."""
    data_set = open_dicom(path)[3]
    if count_frames(data_set) == 1:
        raise ImageError(f"{path}: one DICOM file; give the folder of its series")
    return _from_files(path, [(path, data_set)])


def is_dicom_file(path: Path) -> bool:
    """Whether a file is a DICOM file by its first bytes."""
    with path.open("rb") as file:
        return is_dicom(file.read(HEAD))


def _slices(path: Path, data_set: Any) -> list[_Slice]:
    """The slices of a DICOM file, one or, of several frames, as many as it has."""
    slices = []
    with damage_named(path):
        count = count_frames(data_set)
        if count > 1 and not frames_have_places(data_set):
            raise ImageError(
                f"{path}: holds {count} frames and does not say where each lies; convert it to NIfTI, as dcm2niix does"
            )
        for frame in range(count):
            tags = tags_of_frame(data_set, frame)
            plane = plane_of(tags)
            position = position_of(plane, tags)
            if position is None:
                raise ImageError(f"{path}: does not say where its slice lies (ImagePositionPatient)")
            name = path.name if count == 1 else f"{path.name} frame {frame + 1}"
            slices.append(_Slice(path, data_set, frame, tags, plane, position, name))
    return slices


def _from_files(place: Path, images: Sequence[tuple[Path, Any]]) -> Volume:
    """The volume of DICOM files and their data sets in any order; `place` is their folder, or the only file."""
    _check_one_series(place, images)
    slices = [one for path, data_set in images for one in _slices(path, data_set)]
    slices.sort(key=lambda one: one.position)
    _check_same_tags(slices)
    _check_gaps(place, slices)
    stored = [decode_dicom(one.path, one.data_set, one.frame) for one in slices]
    if any(one.values.ndim == 3 for one in stored):
        raise ImageError(
            f"{place}: its slices are in colour, as screenshots are, and volumes are gray; fuse them as images: "
            "adasffuse fuse A B -o DIR"
        )
    sizes = sorted({one.values.shape[::-1] for one in stored})
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise ImageError(f"{place}: its slices have several sizes, {listed} pixels; keep those of one in a folder")
    planes = [one.plane for one in slices]
    unstated = [
        name
        for name, values in (
            ("ImagePositionPatient", [plane.corner for plane in planes]),
            ("ImageOrientationPatient", [plane.directions for plane in planes]),
            ("PixelSpacing", [plane.spacing for plane in planes]),
        )
        if None in values
    ]
    assumed = f"does not say {', '.join(unstated)}: where its voxels lie is assumed"
    return Volume(
        np.stack([one.values.T for one in stored], axis=2),  # columns, rows, slices
        _affine(slices),
        _common_window(stored),
        stored[0].inverted,
        (assumed,) if unstated else (),
        placed=not unstated,
        frame_of_reference=planes[0].frame_of_reference,
        modality=planes[0].modality,
    )


def _common_window(stored: Sequence[Stored]) -> tuple[float, float] | None:
    """Values of black and white by the linear window that all slices with a window share; None where there is none."""
    windows = {one.span if one.curve is None else None for one in stored if not one.span_notice}
    return windows.pop() if len(windows) == 1 else None


def _check_one_series(place: Path, images: Sequence[tuple[Path, Any]]) -> None:
    """Refuse files of several series, which are named."""
    series: dict[str, list[tuple[Path, Any]]] = {}
    for path, tags in images:
        series.setdefault(str(tags.get("SeriesInstanceUID", "")), []).append((path, tags))
    if len(series) > 1:
        named = []
        for (path, tags), *others in series.values():
            said = f"{tags.get('Modality') or ''} {tags.get('SeriesDescription') or 'without description'}".lstrip()
            named.append(f"{said} ({1 + len(others)}, {path.name}{' ...' if others else ''})")
        raise ImageError(f"{place}: holds {len(series)} series: {first_of(named, 6)}; keep one in a folder of its own")


def _check_same_tags(slices: Sequence[_Slice]) -> None:
    """Refuse slices of a series that differ in spacing, direction, or in which end is white."""
    for name in ("PixelSpacing", "ImageOrientationPatient", "PhotometricInterpretation"):
        for one in slices:
            with damage_named(one.path):
                first, value = slices[0].tags.get(name), one.tags.get(name)
                if isinstance(first, str) or first is None or value is None:
                    same = first == value
                else:
                    first, value = [float(v) for v in first], [float(v) for v in value]
                    same = len(first) == len(value) and np.allclose(first, value, rtol=0, atol=_SAME_TAG)
                if not same:
                    where = one.path.with_name(one.name)
                    raise ImageError(
                        f"{where}: its {name} is not that of {slices[0].name}, {value} instead of {first}; keep the "
                        "slices of one stack in a folder of their own"
                    )


def _check_gaps(place: Path, slices: Sequence[_Slice]) -> None:
    """Refuse a series with a missing slice, or two in one place."""
    gaps = np.diff([one.position for one in slices])
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    for gap, before, after in zip(gaps, slices, slices[1:]):
        if usual <= 0 or gap <= 0:
            raise ImageError(
                f"{place}: {before.name} and {after.name} lie in one place, as copies do, or several echoes, times or "
                "directions in one series; keep one slice of each place"
            )
        if abs(gap - usual) > _SAME_GAP * usual:
            missing = round(gap / usual) - 1
            what = "the distance is another"
            if missing > 0:
                what = "1 slice seems to be missing" if missing == 1 else f"{missing} slices seem to be missing"
            raise ImageError(
                f"{place}: {gap:.2f} mm between {before.name} and {after.name} instead of {usual:.2f}: {what}"
            )


def _affine(slices: Sequence[_Slice]) -> np.ndarray:
    """(4, 4) from voxel numbers (column, row, slice) to mm, right-anterior-superior; 1 mm where nothing is stated."""
    first, last = slices[0], slices[-1]
    directions = np.array(first.plane.directions or (1, 0, 0, 0, 1, 0))
    along_row, along_column = directions[:3], directions[3:]
    between_rows, between_columns = first.plane.spacing or (1, 1)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = along_row * between_columns, along_column * between_rows
    if len(slices) > 1 and None not in (first.plane.corner, last.plane.corner):
        # Not along the normal: with a tilted gantry, slices are displaced along themselves, too.
        matrix[:3, 2] = (np.array(last.plane.corner) - np.array(first.plane.corner)) / (len(slices) - 1)
    else:
        step = float(np.median(np.diff([one.position for one in slices]))) if len(slices) > 1 else 0
        matrix[:3, 2] = np.cross(along_row, along_column) * (step or first.plane.thickness or 1)
    matrix[:3, 3] = first.plane.corner or (0, 0, first.position)
    return np.diag([-1, -1, 1, 1]) @ matrix  # DICOM's axes point left and to the back
