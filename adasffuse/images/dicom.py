"""DICOM files: rescaled values, with the window, curve or table by which the file asks to show them."""

import copy
import logging
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np

from adasffuse.images.extras import import_optional, is_installed
from adasffuse.images.image import ImageError, Plane
from adasffuse.images.ranges import without_artefacts, without_padding
from adasffuse.images.stored import Stored

# Functional groups of enhanced files whose content older files have at the top level (DICOM PS3.3, C.7.6.16).
_GROUPS = (
    "PixelMeasuresSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_IMAGES = " Image Storage"  # how DICOM ends the names of kinds that are images; others may follow, as of purposes
# What pydicom needs further packages for, by transfer syntax: JPEG Extended (12 bits), JPEG Lossless, its first-order
# prediction, JPEG-LS, High-Throughput JPEG 2000.
_UNPACKED = {
    "1.2.840.10008.1.2.4.51": imagecodecs.jpeg8_decode,
    "1.2.840.10008.1.2.4.57": imagecodecs.jpegsof3_decode,
    "1.2.840.10008.1.2.4.70": imagecodecs.jpegsof3_decode,
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.201": imagecodecs.jpeg2k_decode,
    "1.2.840.10008.1.2.4.202": imagecodecs.jpeg2k_decode,
    "1.2.840.10008.1.2.4.203": imagecodecs.jpeg2k_decode,
}

logging.getLogger("pydicom").addHandler(logging.NullHandler())  # or what it finds in damaged files goes to stderr


class NoImageError(ImageError):
    """A DICOM file that is no image by its kind: contours, a report, a presentation state, a registration, a table."""


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Turn what pydicom raises on damaged files into an ImageError that names the file or folder."""
    pydicom = import_optional("pydicom", path)
    broken = (pydicom.errors.BytesLengthException, ValueError, TypeError, LookupError, AttributeError, OverflowError)
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for its pixels") from None
    except (*broken, ArithmeticError, RuntimeError, OSError, EOFError, struct.error) as error:
        raise ImageError(f"{path}: damaged or truncated ({_reason(error)}); export it again") from error


def _reason(error: Exception) -> str:
    """What a decoder says, on one line; it knows the pixels as a stream without a name."""
    return re.sub(r"<_io\.BytesIO [^>]*>", "in its pixel data", " ".join(str(error).split()))


def open_dicom(path: str | Path) -> tuple[int, int, str, Any]:
    """Height, width, depth ('8' of colours, '16' of gray) and the data set of a DICOM file, its pixels not decoded.

    Raises:
        NoImageError: it is no image by its kind.
        ImageError: the package is missing, the file is damaged, or it lacks its image.
    """
    pydicom = import_optional("pydicom", path)
    with damage_named(path):
        data_set = pydicom.dcmread(str(path), force=True)  # also without preamble
        if _is_document(data_set):
            raise NoImageError(f"{path}: a DICOM file without an image; take it out")
        if "TransferSyntaxUID" not in data_set.file_meta:
            implicit, little = data_set.original_encoding
            plain = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
            data_set.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else plain
        if "Rows" not in data_set or "Columns" not in data_set or not any(name in data_set for name in _PIXELS):
            raise ImageError(f"{path}: a DICOM file without an image; take it out")
        height, width = int(data_set.Rows), int(data_set.Columns)
        color = int(data_set.get("SamplesPerPixel", 1)) == 3
        color = color or data_set.get("PhotometricInterpretation") == "PALETTE COLOR"
    return height, width, "8" if color else "16", data_set


def is_document(path: str | Path) -> bool:
    """Whether a DICOM file is no image by its kind, see `NoImageError`; False where pydicom is absent or reads none."""
    if not is_installed("pydicom"):
        return False
    pydicom = import_optional("pydicom", path)
    try:
        with damage_named(path):
            tags = ["SOPClassUID", "Rows"]
            return _is_document(pydicom.dcmread(str(path), force=True, stop_before_pixels=True, specific_tags=tags))
    except ImageError:
        return False


def _is_document(data_set: Any) -> bool:
    """Whether a data set without rows of pixels is of a kind that DICOM knows and that is no image."""
    kind = data_set.get("SOPClassUID")
    known = kind is not None and kind.name != kind  # pydicom names private kinds by their number
    return "Rows" not in data_set and known and _IMAGES not in kind.name


def count_frames(data_set: Any) -> int:
    """How many images a data set holds."""
    return int(data_set.get("NumberOfFrames", 1) or 1)


def tags_of_frame(data_set: Any, number: int) -> Any:
    """A data set as if it held one of its frames only: place, spacing, slope and window of that frame at the top level.

    Enhanced files keep these in functional groups.  Files of nuclear medicine state the place of the first slice and
    the distance of slices.

    Raises:
        Exception: what pydicom raises on damaged files, see `damage_named`.
    """
    shared, each = data_set.get("SharedFunctionalGroupsSequence"), data_set.get("PerFrameFunctionalGroupsSequence")
    detector = data_set.get("DetectorInformationSequence")
    if not (shared or each or detector):
        return data_set
    tags = type(data_set)("", {}, file_meta=data_set.file_meta)
    tags.update(data_set)
    groups = []
    if shared:
        groups.append(shared[0])
    if each:
        groups.append(each[number])
    for group in groups:
        for name in _GROUPS:
            for item in group.get(name) or ():
                tags.update(item)
    if detector:
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            if name in detector[0] and name not in data_set:
                setattr(tags, name, detector[0].get(name))
        if number and frames_have_places(data_set) and not each:
            directions = np.array(tags.ImageOrientationPatient, float)
            normal = np.cross(directions[:3], directions[3:])
            corner = np.array(tags.ImagePositionPatient, float) + normal * float(data_set.SpacingBetweenSlices) * number
            tags.ImagePositionPatient = corner.tolist()
    return tags


def frames_have_places(data_set: Any) -> bool:
    """Whether a data set of several frames says where each lies: enhanced files, and reconstructed SPECT."""
    if data_set.get("PerFrameFunctionalGroupsSequence"):
        return True
    kind = list(data_set.get("ImageType") or ())
    return "RECON TOMO" in kind and "SpacingBetweenSlices" in data_set and "DetectorInformationSequence" in data_set


def decode_dicom(path: str | Path, data_set: Any, number: int = 0) -> Stored:
    """The values of one frame: rescaled by slope and intercept; the file's window says what is black and white.

    VOI LUT Sequence, which goes before a window, and the function SIGMOID are applied as pydicom's `apply_voi_lut`
    does (DICOM PS3.3, C.11.2), to what is shown where no other range is given; of several tables the first.

    Raises:
        ImageError: the pixels cannot be decoded.
    """
    with damage_named(path):
        return _decode(path, data_set, number)


def position_of(plane: Plane, tags: Any) -> float | None:
    """Where a slice lies along its series, mm; None where the file does not say."""
    if plane.corner is None or plane.directions is None:
        location = tags.get("SliceLocation")
        return None if location is None else float(location)
    return float(np.dot(np.cross(plane.directions[:3], plane.directions[3:]), plane.corner))


def plane_of(data_set: Any) -> Plane:
    """Where the slice of a data set lies, see `tags_of_frame`; raises what pydicom raises on damaged files."""
    thickness = _numbers(data_set, "SliceThickness", 1)
    return Plane(
        _spacing(data_set, "PixelSpacing"),
        _spacing(data_set, "ImagerPixelSpacing"),
        _numbers(data_set, "ImagePositionPatient", 3),
        _numbers(data_set, "ImageOrientationPatient", 6),
        thickness[0] if thickness else None,
        str(data_set.get("FrameOfReferenceUID") or ""),
        str(data_set.get("Modality") or ""),
    )


def _spacing(data_set: Any, name: str) -> tuple[float, ...] | None:
    """Distances of rows and of columns, mm; None where the tag does not hold two positive numbers."""
    numbers = _numbers(data_set, name, 2)
    return numbers if numbers and min(numbers) > 0 else None


def _numbers(data_set: Any, name: str, count: int) -> tuple[float, ...] | None:
    """The numbers of a tag; None where it is absent, empty or holds other than `count` finite ones."""
    value = data_set.get(name)
    if value is None or value == "":
        return None
    numbers = tuple(float(one) for one in (value if isinstance(value, Sequence) else [value]))
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _decode(path: str | Path, whole: Any, number: int) -> Stored:
    """As `decode_dicom`; raises what pydicom raises on damaged files."""
    pydicom = import_optional("pydicom", path)
    pixels = pydicom.pixels
    tags, frames = tags_of_frame(whole, number), count_frames(whole)
    color_space = str(tags.get("PhotometricInterpretation", "MONOCHROME2"))
    looked_up = color_space == "PALETTE COLOR"
    try:
        _unpack(pydicom, whole)
        values = np.asarray(whole.pixel_array)  # which pydicom keeps for the next frame
        if frames > 1:
            values = values[number]
        padded = _padding_mask(values, tags)
        if looked_up:
            values = pixels.apply_color_lut(values, tags)
        elif color_space.startswith("MONOCHROME") and (_is_rescaled(tags) or tags.get("ModalityLUTSequence")):
            values = pixels.apply_modality_lut(values, tags)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError, KeyError) as error:
        plain = whole.file_meta.TransferSyntaxUID in pydicom.uid.UncompressedTransferSyntaxes
        how = "again" if plain else "uncompressed"
        raise ImageError(f"{path}: its pixels cannot be decoded ({_reason(error)}); export it {how}") from error
    notices = ()
    if frames > 1:
        several = f"holds {frames} frames, only the first is read"
        if frames_have_places(whole):
            several += "; -o NAME.nii.gz fuses all as a volume"
        notices = (several,)
    if values.ndim == 3:
        if values.dtype != np.uint8:
            bits = 16 if looked_up else int(tags.BitsStored)
            values = (values >> max(0, bits - 8)).astype(np.uint8)
        return Stored(values, "rgb", notices, (0, 255), plane=plane_of(tags))
    measured = values if padded is None or padded.all() else values[~padded]
    low, high, stated = _window(tags, measured)
    curve = _curve(pydicom, tags, values)
    if curve is not None:
        low, high = float(measured.min()), max(float(measured.max()), float(measured.min()) + 1)
        stated = True
    unstated = f"states no window that can be used; its values {low:g} to {high:g} become black to white"
    values, padding = values.astype(np.float32), None
    if padded is not None:
        if np.ptp(values[padded]) == 0:
            padding = float(values[padded][0])
        values[padded] = np.nan
    return Stored(
        values,
        "gray",
        notices,
        (low, high),
        no_data=padding,
        inverted=color_space == "MONOCHROME1",
        fixed=True,
        curve=curve,
        span_notice="" if stated else unstated,
        plane=plane_of(tags),
    )


def _padding_mask(stored: np.ndarray, tags: Any) -> np.ndarray | None:
    """Where stored values stand for no data, (H, W) bool; None where the file names no such value, or holds none.

    These are the value PixelPaddingValue, or all from it to PixelPaddingRangeLimit (DICOM PS3.3, C.7.5.1.1.2).
    """
    first, last = tags.get("PixelPaddingValue"), tags.get("PixelPaddingRangeLimit")
    if first is None or stored.ndim != 2:
        return None
    is_signed = int(tags.get("PixelRepresentation", 0)) == 1
    ends = [_as_stored(int(end), is_signed) for end in (first, first if last is None else last)]
    padded = (stored >= min(ends)) & (stored <= max(ends))
    return padded if padded.any() else None


def _as_stored(padding: int, is_signed: bool) -> int:
    """The 16 bits of a padding value read as pixels are: scanners write 63536 for -2000."""
    padding %= 1 << 16
    return padding - (1 << 16) if is_signed and padding >= 1 << 15 else padding


def _is_rescaled(tags: Any) -> bool:
    """Whether a slope and an intercept are stated; programs that take out names leave them empty at times."""
    return tags.get("RescaleSlope") is not None and tags.get("RescaleIntercept") is not None


def _unpack(pydicom: ModuleType, data_set: Any) -> None:
    """Replace pixels in a compression of `_UNPACKED` by plain ones; other files stay as they are."""
    decode = _UNPACKED.get(str(data_set.file_meta.get("TransferSyntaxUID")))
    if decode is None or (decode is imagecodecs.jpeg8_decode and int(data_set.BitsAllocated) == 8):
        return
    allocated, stored = int(data_set.BitsAllocated), int(data_set.BitsStored)
    packed = pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=count_frames(data_set))
    frames = np.stack([decode(frame) for frame in packed]).astype(f"<u{allocated // 8}")
    if int(data_set.PixelRepresentation):  # the sign is the highest bit stored
        frames = (frames << (allocated - stored)).view(f"<i{allocated // 8}") >> (allocated - stored)
    data_set.PixelData = frames.tobytes()
    data_set["PixelData"].VR, data_set["PixelData"].is_undefined_length = "OW", False
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    if frames.ndim == 4:
        data_set.PlanarConfiguration = 0


def _window(data_set: Any, values: np.ndarray) -> tuple[float, float, bool]:
    """Values of black and white, and whether the file states them; of several windows the first.

    Args:
        values: those that are data, any shape.
    """
    window = _linear_window(data_set)
    if window is None:
        low, high = without_padding(float(values.min()), float(values.max()), values)
        if data_set.get("Modality") == "MR":
            low, high = without_artefacts(low, high, values)
        return low, max(high, low + 1), False
    center, width, function = window
    if function != "LINEAR":  # DICOM PS3.3, C.11.2.1.3.2: the ends are center -+ width / 2
        return center - width / 2, center + width / 2, True
    low = center - 0.5 - (width - 1) / 2  # C.11.2.1.2.1
    return low, low + max(width - 1, 1), True


def _linear_window(data_set: Any) -> tuple[float, float, str] | None:
    """Center, width and VOI LUT Function; None where the file states none that DICOM allows."""
    center, width = data_set.get("WindowCenter"), data_set.get("WindowWidth")
    if center is None or width is None:
        return None
    center, width = (float(v if isinstance(v, int | float | str) else v[0]) for v in (center, width))
    function = str(data_set.get("VOILUTFunction") or "LINEAR").upper()
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    usable = np.isfinite([center, width]).all() and (width >= 1 if function == "LINEAR" else width > 0)
    return (center, width, function) if known and usable else None


def _curve(pydicom: ModuleType, data_set: Any, values: np.ndarray) -> np.ndarray | None:
    """Values as a table or a curve of the file shows them, float32 in [0, 1]; None where a straight line serves."""
    tables = data_set.get("VOILUTSequence")
    if tables and tables[0].get("LUTData") is not None and tables[0].get("LUTDescriptor") is not None:
        return _looked_up(pydicom, data_set, values)
    window = _linear_window(data_set)
    if window is None or window[2] != "SIGMOID":
        return None
    shown = pydicom.pixels.apply_voi_lut(values, data_set)
    black, white = _output_span(data_set)
    return ((shown - black) / (white - black)).clip(0, 1).astype(np.float32)


def _looked_up(pydicom: ModuleType, data_set: Any, values: np.ndarray) -> np.ndarray:
    """Values through the first table of VOI LUT Sequence, over the largest value of its bits; its ends hold beyond."""
    item = copy.deepcopy(data_set.VOILUTSequence[0])
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    if not 8 <= bits <= 16:
        raise ValueError(f"a VOI LUT of {bits} bits; DICOM has 8 to 16")
    item.LUTDescriptor = [entries, first, 16]  # pydicom counts in the entries' type: of 8 bits it would wrap at 256
    table = pydicom.dataset.Dataset()
    table.file_meta, table.VOILUTSequence = data_set.file_meta, [item]
    whole = np.rint(values).clip(first, first + (entries or 65536) - 1).astype(np.int64)
    shown = pydicom.pixels.apply_voi_lut(whole, table)
    return (shown / np.float32(2**bits - 1)).clip(0, 1).astype(np.float32)


def _output_span(data_set: Any) -> tuple[float, float]:
    """What pydicom takes for black and white of a windowed image: the ends of the stored bits, rescaled."""
    table = data_set.get("ModalityLUTSequence")
    if table:
        low, high = 0, 2 ** int(table[0].LUTDescriptor[2]) - 1
    elif int(data_set.PixelRepresentation) == 0:
        low, high = 0, 2 ** int(data_set.BitsStored) - 1
    else:
        low, high = -(2 ** (int(data_set.BitsStored) - 1)), 2 ** (int(data_set.BitsStored) - 1) - 1
    if not _is_rescaled(data_set):
        return low, high
    slope, intercept = float(data_set.RescaleSlope), float(data_set.RescaleIntercept)
    return low * slope + intercept, high * slope + intercept
