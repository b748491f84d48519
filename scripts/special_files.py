"""Files of thermal cameras and scanners, made from arrays: FLIR's radiometric JPEG, DICOM and NIfTI.

The layout of FLIR's segments is that of ExifTool's documentation (FLIR tags): APP1 segments whose contents, joined, are
a header, a directory of records of 32 bytes each, big endian, and the records, little endian.
"""

import io
import struct

import numpy as np
from PIL import Image

_RAW, _PHOTOGRAPH, _CAMERA, _PLACEMENT = 1, 14, 32, 42  # kinds of records
_EMPTY = 8  # entries at the end of the directory, as cameras leave some: flyr does not look at the last two
_SEGMENT = 65000  # bytes
PLANCK = {"R1": 15000.0, "R2": 0.0125, "B": 1400.0, "F": 1.0, "O": -7000}


def radiometric_jpeg(
    counts: np.ndarray,
    photograph: np.ndarray | None = None,
    placement: tuple[float, int, int] | None = None,
    photograph_format: str = "JPEG",
) -> bytes:
    """A radiometric JPEG of an object of emissivity 1 at distance 0, so that T = B / ln(R1 / (R2 (counts + O)) + F) K.

    Args:
        counts: (H, W) uint16.
        photograph: (H, W, 3) uint8, as it is stored: of a PNG Y, Cb, Cr.
        placement: Real2IR, OffsetX and OffsetY.
        photograph_format: 'JPEG' or 'PNG'.
    """
    records = [(_RAW, _pixels_header(counts) + counts.astype("<u2").tobytes()), (_CAMERA, _camera())]
    if photograph is not None:
        file = io.BytesIO()
        Image.fromarray(photograph).save(
            file, photograph_format, **({"quality": 95} if photograph_format == "JPEG" else {})
        )
        records.append((_PHOTOGRAPH, _pixels_header(photograph) + file.getvalue()))
    if placement is not None:
        height, width = counts.shape
        records.append((_PLACEMENT, struct.pack("<f6h", *placement, 0, width - 1, 0, height - 1)))
    entries = len(records) + _EMPTY
    start = 64 + 32 * entries
    directory, content = b"", b""
    for number, (kind, data) in enumerate(records, start=1):
        directory += struct.pack(">HHIIIIIII", kind, 1, 100, number, start + len(content), len(data), 0, 0, 0)
        content += data
    directory = directory.ljust(32 * entries, b"\0")
    header = b"FFF\0".ljust(20, b"\0") + struct.pack(">III", 100, 64, entries)
    whole = header.ljust(64, b"\0") + directory + content
    parts = [whole[place : place + _SEGMENT] for place in range(0, len(whole), _SEGMENT)]
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(part) + 10) + b"FLIR\0\1" + bytes([number, len(parts) - 1]) + part
        for number, part in enumerate(parts)
    )
    file = io.BytesIO()
    Image.fromarray((counts >> 8).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()[:2] + segments + file.getvalue()[2:]


def _pixels_header(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    return struct.pack("<HHH", 2, width, height).ljust(32, b"\0")


def _camera() -> bytes:
    """Emissivity, distance, temperatures, transmission, humidity, Planck's constants and those of the air."""
    record = bytearray(832)
    struct.pack_into("<6f", record, 32, 1.0, 0.0, 293.15, 293.15, 293.15, 1.0)
    struct.pack_into("<f", record, 60, 0.5)
    struct.pack_into("<3f", record, 88, PLANCK["R1"], PLANCK["B"], PLANCK["F"])
    struct.pack_into("<5f", record, 112, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into("<if", record, 776, PLANCK["O"], PLANCK["R2"])
    return bytes(record)


def dicom_file(values: np.ndarray, **tags: object) -> bytes:
    """A DICOM image of gray values or RGB; needs pydicom.

    Args:
        values: (H, W) integers, or (H, W, 3) uint8.
        tags: further elements by their keyword; `PhotometricInterpretation` replaces the usual one.
    """
    import pydicom

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one = pydicom.dataset.Dataset()
    one.file_meta = meta
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.Rows, one.Columns = values.shape[:2]
    one.SamplesPerPixel = 1 if values.ndim == 2 else 3
    one.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    one.BitsAllocated = one.BitsStored = 8 * values.dtype.itemsize
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(values.dtype.kind == "i")
    if values.ndim == 3:
        one.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(one, name, value)
    one.PixelData = values.tobytes()
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


def voi_lut(data: list[int], first: int, bits: int) -> object:
    """The value of VOILUTSequence with one table: what values from `first` on are shown as; needs pydicom."""
    import pydicom

    item = pydicom.dataset.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    return pydicom.sequence.Sequence([item])


def nifti_file(values: np.ndarray) -> bytes:
    """A NIfTI volume with voxels of 1 mm; needs nibabel."""
    import nibabel

    return nibabel.Nifti1Image(values, np.eye(4)).to_bytes()
