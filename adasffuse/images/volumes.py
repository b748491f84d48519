"""Volumes: NIfTI files, and DICOM series, one folder for each."""

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adasffuse.files import write_bytes
from adasffuse.images.dicom import (
    NoImageError,
    count_frames,
    damage_named,
    decode_dicom,
    frames_have_places,
    is_document,
    open_dicom,
    position_of,
    tags_of_frame,
)
from adasffuse.images.extras import needed
from adasffuse.images.formats import HEAD, is_dicom
from adasffuse.images.image import ImageError
from adasffuse.images.plane import IF_WRONG, OTHER_FRAME
from adasffuse.messages import first_of

_TABLE = "DICOMDIR"  # of a medium: a table of its files, not a slice
VOLUME_SUFFIXES = (".nii", ".nii.gz")
MAX_VOXELS = 2**30
_SAME_GRID = 1e-2  # mm, how far positions of the same voxel may lie apart
_SAME_GAP = 0.1  # of the usual distance of slices, by which distances may differ
_SAME_TAG = 1e-3  # by which spacing (mm) and direction (cosines) may differ within a series
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}  # of NIfTI's xyzt_units; 'mm' and 'unknown' are mm
_FLAT = 1e-6  # volume of a voxel by the product of its sides, below which it has none
_RGB24 = np.dtype([(channel, np.uint8) for channel in "RGB"])
_CHUNK = 1 << 20  # bytes
_FWHM = 2.3548  # full width at half maximum of a Gaussian, in its standard deviations
_CUTS = ("sagittal", "coronal", "axial")  # slices across right, anterior and superior
_RESAMPLE = "--resample b brings the first to the voxels of the second, by where both lie in space"
_SAYS_WHERE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclass(frozen=True)
class Volume:
    """Voxels, and where they lie in space."""

    values: np.ndarray  # (X, Y, Z) float32, in the file's units; NaN where there is no data
    affine: np.ndarray  # (4, 4), from voxel numbers to mm, as NIfTI has it: right, anterior, superior
    window: tuple[float, float] | None = None  # values of black and white that the file asks for, unless by a curve
    inverted: bool = False  # the smallest value is white
    notices: tuple[str, ...] = ()  # what a user should know, without its name
    placed: bool = True  # whether the file says where its voxels lie; else that is assumed
    frame_of_reference: str = ""  # DICOM's name of the coordinates that the affine leads to; '' where none is said
    modality: str = ""  # 'CT', 'PT', 'NM', 'MR', ..., of DICOM

    @property
    def steps(self) -> np.ndarray:
        """Size of a voxel along each of its axes, mm, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


@dataclass(frozen=True)
class _Slice:
    """One image of a DICOM series."""

    path: Path
    data_set: Any  # of the file
    frame: int  # its number in the file
    tags: Any  # what holds for this frame
    name: str  # for messages, without the folder


def is_volume(path: str | Path) -> bool:
    """Whether a name is that of a NIfTI file."""
    return str(path).lower().endswith(VOLUME_SUFFIXES)


def holds_series(folder: str | Path) -> bool:
    """Whether a folder holds DICOM files itself."""
    return any(path.is_file() and _is_dicom(path) for path in Path(folder).iterdir() if not path.name.startswith("."))


def series_below(folder: str | Path) -> Iterator[Path]:
    """The folders that hold DICOM images: a folder itself, or else those below it, as patient/study/series."""
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        slices = (Path(place, name) for name in files if not name.startswith(".") and name.upper() != _TABLE)
        if any(path.is_file() and _is_dicom(path) and not is_document(path) for path in slices):
            names.clear()
            yield Path(place)


def holds_volumes(folder: str | Path) -> bool:
    """Whether a folder holds NIfTI files, or folders with a DICOM series each, at any depth."""
    return any(volumes_of(folder))


def volumes_of(folder: str | Path) -> Iterator[Path]:
    """The NIfTI files of a folder, and its folders with a DICOM series each, at any depth, by their names."""
    for path in sorted(Path(folder).iterdir()):
        if not path.name.startswith(".") and (is_volume(path) or (path.is_dir() and any(series_below(path)))):
            yield path


def stem_of(path: str | Path) -> str:
    """The name of a volume without its suffix: of 'p1.nii.gz', of 'p1.dcm' and of a folder 'p1' it is 'p1'."""
    path = Path(path)
    suffix = max((one for one in VOLUME_SUFFIXES if path.name.lower().endswith(one)), key=len, default="")
    if suffix:
        return path.name[: -len(suffix)]
    return path.name if path.is_dir() else path.stem


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI file, a DICOM file of several frames, or a folder with one DICOM series, in it or below it.

    Raises:
        ImageError: a package is missing, the file is damaged, it holds several volumes, or slices of a series are
            missing or do not fit together.
    """
    path = Path(path)
    if path.is_dir():
        return read_series(path)
    if not is_volume(path) and path.is_file() and _is_dicom(path):
        data_set = open_dicom(path)[3]
        if count_frames(data_set) == 1:
            raise ImageError(f"{path}: one DICOM file; give the folder of its series")
        return _from_files(path, [(path, data_set)])
    return read_nifti(path)


def read_nifti(path: str | Path) -> Volume:
    """Read a NIfTI file of one volume; a single slice counts as one; errors as `read_volume`."""
    nibabel = needed("nibabel", path)
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such file or folder; expected a NIfTI volume or the folder of a DICOM series")
    try:
        image = nibabel.load(str(path))
        shape = image.shape
        if len(shape) > 3 and max(shape[3:]) > 1:
            count = np.prod(shape[3:])
            raise ImageError(f"{path}: holds {count} volumes of {shape[:3]} voxels; save the one to be fused as a file")
        if len(shape) < 2 or 0 in shape:
            raise ImageError(f"{path}: holds no image, its shape is {shape}")
        if math.prod(shape) > MAX_VOXELS:
            raise ImageError(f"{path}: {shape[:3]} voxels, more than the limit of {MAX_VOXELS}; cut it first")
        if image.get_data_dtype().names:
            raise ImageError(f"{path}: holds colours (RGB), as results in false colours do; give the gray volume")
        if image.get_data_dtype().kind not in "iuf":
            raise ImageError(f"{path}: holds {image.get_data_dtype()} values; expected real numbers, gray")
        if str(path).lower().endswith(".gz"):
            _check_sum(path)
        values = np.asarray(image.dataobj, np.float32).reshape((*shape, 1)[:3])
        affine = np.asarray(image.affine, np.float64).copy()
        affine[:3] *= _MM_PER_UNIT.get(image.header.get_xyzt_units()[0], 1)
        placed = any(image.header.get(code, 0) > 0 for code in ("sform_code", "qform_code")) and _has_volume(affine)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for its voxels; cut it first") from None
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        ValueError,
        EOFError,
        TypeError,
        AttributeError,
        OverflowError,
        zlib.error,
    ) as error:
        raise ImageError(f"{path}: damaged or no NIfTI file ({error}); expected a .nii or .nii.gz volume") from error
    return Volume(values, affine, placed=placed)


def read_series(folder: str | Path) -> Volume:
    """Read the DICOM slices of a folder, or of the only one below it, sorted by place; errors as `read_volume`."""
    folder = Path(folder)
    places = list(series_below(folder))
    if places:
        needed("pydicom", folder)  # which tells images from other files
    if len(places) > 1:
        names = first_of([str(place.relative_to(folder)) for place in places])
        raise ImageError(f"{folder}: holds {len(places)} folders of DICOM files, {names}; give one alone, or keep one")
    folder = places[0] if places else folder
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name.upper() != _TABLE]
    for path in files:
        if path.suffix.lower() == ".dcm" and not _is_dicom(path):
            raise ImageError(f"{path}: damaged, no DICOM file by its content; export it again or take it out")
    found = [path for path in files if _is_dicom(path)]
    if not found:
        raise ImageError(f"{folder}: holds no DICOM files{_other_content(folder)}; expected one series")
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


def _slices(path: Path, data_set: Any) -> list[_Slice]:
    """The slices of a DICOM file, one or, of several frames, as many as it has."""
    with damage_named(path):
        frames = count_frames(data_set)
        if frames > 1 and not frames_have_places(data_set):
            raise ImageError(
                f"{path}: holds {frames} frames and does not say where each lies; convert it to NIfTI, as dcm2niix does"
            )
        names = [path.name] if frames == 1 else [f"{path.name} frame {k + 1}" for k in range(frames)]
        return [_Slice(path, data_set, k, tags_of_frame(data_set, k), name) for k, name in enumerate(names)]


def _from_files(place: Path, images: Sequence[tuple[Path, Any]]) -> Volume:
    """The volume of DICOM files and their data sets in any order; `place` is their folder, or the only file."""
    _check_one_series(place, images)
    slices = [one for image in images for one in _slices(*image)]
    positions = []
    for one in slices:
        with damage_named(one.path):
            position = position_of(one.tags)
        if position is None:
            raise ImageError(f"{one.path}: does not say where its slice lies (ImagePositionPatient)")
        positions.append(position)
    order = np.argsort(positions, kind="stable")
    slices, positions = [slices[k] for k in order], np.array(positions)[order]
    _check_same_tags(slices)
    _check_gaps(place, positions, [one.name for one in slices])
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
    values = np.stack([one.values.T for one in stored], axis=2)  # columns, rows, slices
    tags = [one.tags for one in slices]
    windows = {
        one.span if one.curve is None else None for one, t in zip(stored, tags) if t.get("WindowCenter") is not None
    }
    window = windows.pop() if len(windows) == 1 else None
    with damage_named(place):
        affine = _affine(tags, positions)
    unsaid = [name for name in _SAYS_WHERE if any(name not in one for one in tags)]
    notices = (f"does not say {', '.join(unsaid)}: where its voxels lie is assumed",) if unsaid else ()
    reference = str(tags[0].get("FrameOfReferenceUID") or "")
    modality = str(tags[0].get("Modality") or "")
    return Volume(values, affine, window, stored[0].inverted, notices, not unsaid, reference, modality)


def write_volume(path: str | Path, values: np.ndarray, affine: np.ndarray) -> None:
    """Write voxels (X, Y, Z), uint8, uint16 or float32, or (X, Y, Z, 3) uint8 RGB, as NIfTI, whole or not at all.

    Raises:
        ImageError: a package is missing, another suffix than .nii or .nii.gz, or the file cannot be written.
    """
    if not is_volume(path):
        raise ImageError(f"{path}: volumes are written to files ending in {' or '.join(VOLUME_SUFFIXES)}")
    if values.ndim == 4:  # NIfTI's RGB24: one voxel of three numbers
        values = np.ascontiguousarray(values).view(_RGB24)[..., 0]
    image = needed("nibabel", path).Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    try:
        write_bytes(path, gzip.compress(content, 6, mtime=0) if str(path).lower().endswith(".gz") else content)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error


def turned_like(volume: Volume, other: Volume) -> Volume:
    """A volume whose axes run as those of another one: exchanged or reversed where needed, nothing is resampled.

    As it is where one does not say how its axes run.
    """
    if not (volume.placed and other.placed and np.isfinite([volume.affine, other.affine]).all()):
        return volume
    orientations = needed("nibabel", "volume").orientations
    ends = [orientations.io_orientation(one.affine) for one in (volume, other)]
    if np.isnan(ends).any() or np.array_equal(*ends):  # NaN: an axis without direction
        return volume
    turn = orientations.ornt_transform(*ends)
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.values.shape)
    return replace(volume, values=orientations.apply_orientation(volume.values, turn), affine=affine)


def axis_of(name: str | Path, volume: Volume, cut: str) -> int:
    """The axis of a volume's voxels, 0, 1 or 2, along which slices are cut that are 'axial', 'coronal' or 'sagittal'.

    Of oblique volumes it is the nearest one.

    Raises:
        ImageError: the volume, called `name`, does not say where its voxels lie.
    """
    if not volume.placed:
        raise ImageError(f"{name} does not say where its voxels lie, so which of its slices are {cut} is not known")
    directions = needed("nibabel", name).orientations.io_orientation(volume.affine)[:, 0]
    return directions.tolist().index(_CUTS.index(cut))


def upright_slice(pixels: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """A slice as radiologists look at it, with square pixels: head or front up, the body's right side, or front, left.

    Args:
        pixels: (P, Q) or (P, Q, 3), along the two other axes of the volume; uint8, uint16 or float32.
        affine: of the volume.
        axis: along which it is cut.
    """
    others = [k for k in range(3) if k != axis]
    if not _has_volume(affine):
        return pixels.swapaxes(0, 1)
    directions, signs = needed("nibabel", "volume").orientations.io_orientation(affine)[others].T
    pixels = np.flip(pixels, [k for k in range(2) if signs[k] > 0])
    steps = np.linalg.norm(affine[:3, others], axis=0)
    heights = [max(1, round(size * step / steps.min())) for size, step in zip(pixels.shape, steps)]
    pixels = cv2.resize(np.ascontiguousarray(pixels), heights[::-1], interpolation=cv2.INTER_LINEAR)
    return pixels.swapaxes(0, 1) if directions[0] < directions[1] else pixels


def check_same_grid(names: Sequence[str | Path], volumes: Sequence[Volume], places: bool = True) -> None:
    """Raise ImageError where two volumes do not have their voxels in the same places.

    Args:
        places: False: only as many voxels along each axis.
    """
    (first, second), (one, other) = names, volumes
    cure = _unplaced(names, volumes) or _RESAMPLE
    if one.values.shape != other.values.shape:
        shapes = [" x ".join(map(str, volume.values.shape)) for volume in volumes]
        raise ImageError(f"{first} has {shapes[0]} voxels, {second} {shapes[1]}; {cure}")
    if not places:
        return
    size = np.array(one.values.shape) - 1
    corners = np.array([[*(size * [i, j, k]), 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float64)
    gap = np.abs(corners @ (one.affine - other.affine).T).max()
    ignored = IF_WRONG.format("voxels")
    if one.placed != other.placed:  # what is assumed of one, such as which side is left, may be wrong though it fits
        raise ImageError(f"whether {first} and {second} show the same places is not known: {cure}; {ignored}")
    if not gap <= _SAME_GRID:  # nor where it is NaN
        raise ImageError(f"{first} and {second} have their voxels up to {gap:.2f} mm apart; {cure}; {ignored}")


def resampled(name: str | Path, volume: Volume, like_name: str | Path, like: Volume) -> Volume:
    """A volume at the voxels of another, by where both lie in space; nothing is registered.

    Values between voxels are interpolated linearly; where the volume has finer voxels than the other, it is smoothed
    before, to a full width at half maximum that makes up the difference.  There is no data beyond the volume.

    Args:
        name, like_name: of the volumes, for messages.
    Raises:
        ImageError: one does not say where its voxels lie, or the volumes have no place in common.
    """
    from scipy.ndimage import affine_transform, gaussian_filter  # here, since it takes as long to load as the rest

    if unplaced := _unplaced((name, like_name), (volume, like)):
        raise ImageError(unplaced)
    matrix = np.linalg.solve(volume.affine, like.affine)  # from the other's voxel numbers to those of the volume
    known = np.isfinite(volume.values)
    values, share = np.where(known, volume.values, 0), known.astype(np.float32)
    steps = np.sqrt(np.square(matrix[:3, :3]).sum(axis=1))  # of the other's voxels, along each axis of the volume
    widths = np.sqrt(np.maximum(np.square(steps) - 1, 0)) / _FWHM
    if widths.max() > 0:
        values, share = (gaussian_filter(one, widths, mode="constant") for one in (values, share))
    place = {"matrix": matrix[:3, :3], "offset": matrix[:3, 3], "output_shape": like.values.shape, "order": 1}
    values, share = (affine_transform(one, **place, mode="grid-constant") for one in (values, share))
    inside = share >= 0.5
    if not inside.any():
        raise ImageError(f"{name} and {like_name} have no place in common, as their files say")
    result = np.full(like.values.shape, np.nan, np.float32)
    result[inside] = values[inside] / share[inside]
    sizes = [" x ".join(map(str, one.values.shape)) for one in (volume, like)]
    notice = f"resampled from {sizes[0]} to {sizes[1]} voxels, of which it shows {inside.mean():.0%}"
    return replace(volume, values=result, affine=like.affine, notices=(*volume.notices, notice))


def frames_notice(other_name: str | Path, volumes: Sequence[Volume]) -> list[str]:
    """A notice of the first volume where another one, called `other_name`, has other coordinates; [] for none."""
    references = {volume.frame_of_reference for volume in volumes} - {""}
    return [OTHER_FRAME.format(other_name)] if len(references) > 1 else []


def _has_volume(affine: np.ndarray) -> bool:
    """Whether voxels have three directions: damaged headers have zeros or NaN."""
    steps = affine[:3, :3]
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(steps)) > _FLAT * np.linalg.norm(steps, axis=0).prod())


def _unplaced(names: Sequence[str | Path], volumes: Sequence[Volume]) -> str:
    """What is said of the first volume that does not say where its voxels lie, '' for none."""
    unplaced = [name for name, volume in zip(names, volumes) if not volume.placed]
    if not unplaced:
        return ""
    return (
        f"{unplaced[0]} does not say where its voxels lie, so they cannot be resampled; give it the affine of the "
        "volume that it was made from (NIfTI: an sform whose code is not 0)"
    )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return is_dicom(file.read(HEAD))


def _other_content(folder: Path) -> str:
    """A remark on NIfTI files; '' for none."""
    volumes = sorted(path.name for path in folder.iterdir() if is_volume(path))
    return f" but {first_of(volumes)}; give one of them, or, to fuse all, a folder for the results" if volumes else ""


def _check_sum(path: str | Path) -> None:
    """Read a compressed file to its end, where its check sum is: nibabel stops before, with wrong voxels if need be."""
    with gzip.open(path) as file:
        while file.read(_CHUNK):
            pass


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


def _check_gaps(place: Path, positions: np.ndarray, names: Sequence[str]) -> None:
    """Refuse a series with a missing slice, or two in one place."""
    gaps = np.diff(positions)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    for gap, before, after in zip(gaps, names, names[1:]):
        if usual <= 0 or gap <= 0:
            raise ImageError(
                f"{place}: {before} and {after} lie in one place, as copies do, or several echoes, times or directions "
                "in one series; keep one slice of each place"
            )
        if abs(gap - usual) > _SAME_GAP * usual:
            missing = round(gap / usual) - 1
            slices = "1 slice seems" if missing == 1 else f"{missing} slices seem"
            what = f"{slices} to be missing" if missing > 0 else "the distance is another"
            raise ImageError(f"{place}: {gap:.2f} mm between {before} and {after} instead of {usual:.2f}: {what}")


def _affine(slices: Sequence[Any], positions: np.ndarray) -> np.ndarray:
    """From voxel numbers (column, row, slice) to mm, right-anterior-superior."""
    first = slices[0]
    turn = [float(v) for v in first.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0])]
    along_row, along_column = np.array(turn[:3]), np.array(turn[3:])
    rows, columns = (float(v) for v in first.get("PixelSpacing", [1, 1]))
    step = float(np.median(np.diff(positions))) if len(positions) > 1 else float(first.get("SliceThickness", 1) or 1)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = along_row * columns, along_column * rows
    places = [one.get("ImagePositionPatient") for one in (first, slices[-1])]
    if len(slices) > 1 and None not in places:  # of a tilted gantry, slices are displaced along themselves, too
        start, end = (np.array([float(v) for v in place]) for place in places)
        matrix[:3, 2] = (end - start) / (len(slices) - 1)
    else:
        matrix[:3, 2] = np.cross(along_row, along_column) * step
    matrix[:3, 3] = [float(v) for v in first.get("ImagePositionPatient", [0, 0, float(positions[0])])]
    return np.diag([-1, -1, 1, 1]) @ matrix  # DICOM's axes point left and to the back
