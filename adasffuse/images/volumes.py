"""Files of volumes: NIfTI, read and written, and DICOM series."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adasffuse.files import write_bytes
from adasffuse.images.extras import import_optional
from adasffuse.images.image import ImageError
from adasffuse.images.series import is_dicom_file, read_frames, read_series, series_below
from adasffuse.images.volume_grid import Volume, has_volume
from adasffuse.messages import first_of

VOLUME_SUFFIXES = (".nii", ".nii.gz")
MAX_VOXELS = 2**30
OF_TWO_FILES = (".hdr", ".img")  # suffixes of NIfTI in two files
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}  # of NIfTI's xyzt_units; 'mm' and 'unknown' are mm
_RGB24 = np.dtype([(channel, np.uint8) for channel in "RGB"])
_CHUNK = 1 << 20  # bytes


def is_volume(path: str | Path) -> bool:
    """Whether a name is that of a NIfTI file."""
    return str(path).lower().endswith(VOLUME_SUFFIXES)


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
        files = sorted(inside.name for inside in path.iterdir() if is_volume(inside))
        if files and not any(series_below(path)):
            raise ImageError(
                f"{path}: holds no DICOM files but {first_of(files)}; give one of them, or, to fuse all, a folder for "
                "the results; expected one series"
            )
        return read_series(path)
    if not is_volume(path) and path.is_file() and is_dicom_file(path):
        return read_frames(path)
    return read_nifti(path)


def read_nifti(path: str | Path) -> Volume:
    """Read a NIfTI file of one volume; a single slice counts as one; errors as `read_volume`."""
    nibabel = import_optional("nibabel", path)
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such file or folder; expected a NIfTI volume or the folder of a DICOM series")
    try:
        image = nibabel.load(str(path))
        if not isinstance(image, nibabel.Nifti1Pair):  # which files of NIfTI-2, and of one part, are, too
            kind = type(image).__name__.removesuffix("Image")
            raise ImageError(f"{path}: no NIfTI but of the format {kind}; convert it to .nii.gz, as mri_convert does")
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
        placed = any(image.header.get(code, 0) > 0 for code in ("sform_code", "qform_code")) and has_volume(affine)
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
        reason = " ".join(str(error).split())
        raise ImageError(f"{path}: damaged or no NIfTI file ({reason}); expected a .nii or .nii.gz volume") from error
    return Volume(values, affine, placed=placed)


def write_volume(path: str | Path, values: np.ndarray, affine: np.ndarray) -> None:
    """Write voxels (X, Y, Z), uint8, uint16 or float32, or (X, Y, Z, 3) uint8 RGB, as NIfTI, whole or not at all.

    Raises:
        ImageError: a package is missing, another suffix than .nii or .nii.gz, or the file cannot be written.
    """
    if not is_volume(path):
        raise ImageError(f"{path}: volumes are written to files ending in {' or '.join(VOLUME_SUFFIXES)}")
    if values.ndim == 4:  # NIfTI's RGB24: one voxel of three numbers
        values = np.ascontiguousarray(values).view(_RGB24)[..., 0]
    image = import_optional("nibabel", path).Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    try:
        write_bytes(path, gzip.compress(content, 6, mtime=0) if str(path).lower().endswith(".gz") else content)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error


def _check_sum(path: str | Path) -> None:
    """Read a compressed file to its end, where its check sum is: nibabel stops before, with wrong voxels if need be."""
    with gzip.open(path) as file:
        while file.read(_CHUNK):
            pass
