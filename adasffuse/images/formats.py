"""Opening image files: which format a file has, and the module that decodes it.

The first bytes of a file decide on its format, never its suffix.  Header and limits are judged before memory for pixels
is asked for.
"""

import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from adasffuse.files import NO_ADDRESS, is_address
from adasffuse.images.extras import is_installed
from adasffuse.images.image import ImageError
from adasffuse.images.pillow_formats import open_pillow, pillow_class
from adasffuse.images.stored import DAMAGE, ImageFile, RefusedError, Stored, check_size
from adasffuse.images.tiff import open_tiff
from adasffuse.installation import install_command

RAW_SUFFIXES = frozenset(  # of cameras; their files look like TIFF, or like nothing known
    {".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".nrw", ".3fr"}
)
RADIOMETRIC = b"FLIR\0"  # how FLIR's segments of a JPEG begin
SEARCHED = 1 << 20  # bytes of a JPEG in which they are looked for
MAX_BYTES = 2**32  # of a file
EXPECTED = "expected a PNG, JPEG, TIFF, BMP, WebP, GIF, PGM, PPM, JPEG 2000, AVIF or DICOM image"
_SIGNATURES = (
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("JPEG", rb"\xff\xd8\xff"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("BMP", rb"BM"),
    ("WebP", rb"RIFF....WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("Netpbm", rb"P[1-6][\s#]"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("AVIF", rb"....ftyp(avi[fs]|(mif1|msf1).{4,60}avi[fs])"),
    ("HEIC", rb"....ftyp(hei|hev|mif1|msf1)"),
)
_PAGE = re.compile(r"(.+)\[(\d+)\]")  # a page of a file: 'z.tif[3]'
HEAD = 132  # bytes that are looked at to find the format
_SHORT_ELEMENTS = (b"CS", b"DA", b"IS", b"LO", b"SH", b"TM", b"UI", b"UL")  # DICOM's value representations
_WRITE_TIFF = "write it as TIFF, as by tifffile.imwrite('NAME.tif', "
_OTHERS = (  # what lies in place of a file that was not downloaded, formats that are not read, and what to do
    (rb"version https://git-lfs", "it is a pointer of Git LFS: run 'git lfs pull' in its repository"),
    (rb"\s*<(!doctype )?html", "it is a web page: download the image itself"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "it is JPEG XL, which is not read: convert it to PNG"),
    (rb"v/1\x01", "it is OpenEXR, which is not read: convert it to TIFF of floating point"),
    (rb"#\?R", "it is Radiance HDR, which is not read: convert it to TIFF of floating point"),
    (rb"P[Ff7]\n", "it is PFM or PAM, which is not read: convert it to TIFF"),
    (rb"\x93NUMPY", f"it is an array of NumPy: {_WRITE_TIFF}numpy.load(FILE))"),
    (rb"MATLAB 5\.0 MAT-file", f"it is a file of MATLAB: {_WRITE_TIFF}scipy.io.loadmat(FILE)[VARIABLE])"),
    (rb"\x89HDF\r\n", "it is HDF5, as of MATLAB 7.3, which is not read: write its image as TIFF"),
    (rb"SIMPLE  =", "it is FITS, which is not read: convert it to TIFF"),
    (
        rb"NRRD000|(ObjectType|NDims) *=",
        "it is a volume of NRRD or MetaImage, which is not read: convert it to .nii.gz",
    ),
    (rb"FFF\0", "it is a sequence of FLIR, which is not read: export its frames as radiometric JPEG or TIFF"),
    (rb"PK\x03\x04", "it is a ZIP archive, or .npz or .xlsx: take the images out of it, or write them as TIFF"),
    (rb"%PDF", "it is PDF, which is not read: convert it to PNG"),
    (  # numbers between commas, semicolons or tabs, perhaps after lines that describe them
        rb"[^\x00-\x08\x0e-\x1f]*\d[;,\t][^\x00-\x08\x0e-\x1f]*$",
        "it is text: write temperatures as TIFF of floating point (docs/files.md, temperatures as text)",
    ),
)


@contextmanager
def open_image(path: str | Path, thermal: bool = False) -> Iterator[ImageFile]:
    """Open an image file and judge its header.

    Args:
        path: a file, or a page of a TIFF file with several: 'z.tif[3]', counted from 0.
        thermal: of a radiometric JPEG the temperatures are wanted, not its rendering in false colours.
    Raises:
        ImageError: at opening or from within the block: no such file, no regular file, empty, larger than MAX_BYTES
            or `MAX_PIXELS`, no image, or damaged.
    """
    path = Path(path)
    place, page = _file_and_page(path)
    try:
        with regular_file(place) as file:
            head = file.read(HEAD)
            kind = _image_format(head)
            file.seek(0)
            if page is not None and kind != "TIFF":
                raise ImageError(f"{path}: only TIFF files have pages; give the file itself")
            if path.name.lower().endswith((".nii", ".nii.gz")):
                raise ImageError(f"{path}: a volume, where an image is expected; adasffuse fuse and info take volumes")
            if kind is None and path.suffix.lower() not in RAW_SUFFIXES:
                cure = cure_of(head) or f"{EXPECTED}, convert it or take it out"
                raise ImageError(f"{path}: not a readable image; {cure}")
            opened = _open_extra(path, kind, file, thermal)
            if opened is None:
                opened = open_tiff(file, page) if kind == "TIFF" else open_pillow(file.read(), kind, path)
            check_size(opened.height, opened.width)
            yield opened
    except ImageError:
        raise
    except RefusedError as error:
        raise ImageError(f"{path}: {error}") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory for its pixels; cut or shrink it first") from None
    except NotImplementedError as error:
        raise ImageError(f"{path}: of an unusual kind ({error}); export it as PNG") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{path}: damaged or truncated ({reason}); {EXPECTED}, copy or export it again") from error


def file_of(path: Path) -> Path:
    """The file that a path leads to: of a page, such as 'z.tif[3]', the file that holds it."""
    return _file_and_page(path)[0]


def _file_and_page(path: Path) -> tuple[Path, int | None]:
    """The file and the page that 'z.tif[3]' names; the path and None where it is no such name, or a file's own."""
    found = _PAGE.fullmatch(path.name)
    if found is None or path.exists():
        return path, None
    return path.with_name(found[1]), int(found[2])


def cure_of(head: bytes) -> str:
    """What a file that is not read is by its first bytes, and what to do; '' where that is not known."""
    cures = (cure for pattern, cure in _OTHERS if re.match(pattern, head, re.IGNORECASE | re.DOTALL))
    return next(cures, "")


def _image_format(head: bytes) -> str | None:
    """Name of the format that a file's first HEAD bytes show, None where it is none that is read here."""
    if is_dicom(head):  # its first bytes may be those of a TIFF
        return "DICOM"
    return next((name for name, pattern in _SIGNATURES if re.match(pattern, head, re.DOTALL)), None)


def is_dicom(head: bytes) -> bool:
    """Whether the first HEAD bytes are those of a DICOM file.

    One without preamble, as older programs and network transfers write it, begins with two data elements of group 2 or
    8 in ascending order, the first of them short.
    """
    if head[128:132] == b"DICM":
        return True
    return len(head) >= HEAD and any(_begins_with_elements(head, order) for order in "<>")


def _begins_with_elements(head: bytes, order: str) -> bool:
    """Whether bytes begin with data elements of DICOM in a byte order, '<' or '>'."""
    group, element = struct.unpack_from(f"{order}HH", head)
    explicit = head[4:6] in _SHORT_ELEMENTS
    (length,) = struct.unpack_from(f"{order}H", head, 6) if explicit else struct.unpack_from(f"{order}I", head, 4)
    if group not in (2, 8) or length % 2 or length > HEAD - 12:
        return False
    following = struct.unpack_from(f"{order}HH", head, 8 + length)
    return following[0] in (2, 8) and following > (group, element)


def _open_extra(path: Path, kind: str | None, file: BinaryIO, thermal: bool) -> ImageFile | None:
    """What an optional package decodes; None for other files.  The modules are loaded where a file needs them."""
    if kind == "DICOM":
        from adasffuse.images.dicom import decode_dicom, open_dicom

        height, width, depth, data_set = open_dicom(path)
        return ImageFile(height, width, depth, 1, lambda: decode_dicom(path, data_set))
    if kind in (None, "TIFF") and path.suffix.lower() in RAW_SUFFIXES:
        from adasffuse.images.camera_raw import decode_raw, size_of_raw

        return ImageFile(*size_of_raw(path), "16", 1, lambda: decode_raw(path))
    if kind == "JPEG" and thermal:
        radiometric = RADIOMETRIC in file.read(SEARCHED)
        file.seek(0)
        if radiometric and is_installed("flyr"):
            from adasffuse.images.flir import thermal_image

            stored = thermal_image(path)
            return ImageFile(*stored.values.shape, "float", 1, lambda: stored)
        if radiometric:
            opened = open_pillow(file.read(), kind, path)
            notice = f"its colours are a rendering; to read its temperatures: {install_command('thermal')}"
            return replace(opened, decode=lambda: _with_notice(opened.decode(), notice))
    return None


def is_radiometric(path: str | Path) -> bool:
    """Whether a file is a JPEG with FLIR's segments; False for what is no regular file."""
    path = Path(path)
    if not path.is_file():
        return False
    with regular_file(path) as file:
        start = file.read(SEARCHED)
    return _image_format(start[:HEAD]) == "JPEG" and RADIOMETRIC in start


def holds_image(path: str | Path) -> bool:
    """Whether a file is an image by its first bytes, or a camera's raw file by its name; errors as `open_image`."""
    with regular_file(Path(path)) as file:
        return _image_format(file.read(HEAD)) is not None or Path(path).suffix.lower() in RAW_SUFFIXES


@contextmanager
def open_exif(path: str | Path) -> Iterator[Image.Exif]:
    """EXIF data of a file, to be used within the block; empty where it has none, broken ones, or Pillow reads none.

    Raises:
        ImageError: as `regular_file`.
    """
    with regular_file(Path(path)) as file:
        kind = _image_format(file.read(HEAD))
        file.seek(0)
        image_class = TiffImagePlugin.TiffImageFile if kind == "TIFF" else pillow_class(kind, path)
        exif = Image.Exif()
        if image_class:
            with suppress(*DAMAGE):
                exif = image_class(file).getexif()
        yield exif


def _with_notice(stored: Stored, notice: str) -> Stored:
    return replace(stored, notices=(*stored.notices, notice))


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; devices, pipes and empty files (as in /proc) are refused without opening them."""
    try:
        status = path.stat()
    except FileNotFoundError:
        cure = NO_ADDRESS if is_address(path) else f"{EXPECTED}, check the name"
        raise ImageError(f"{path}: no such file; {cure}") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: cannot be read (is a directory); {EXPECTED}")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: not a regular file (a device, pipe or socket); {EXPECTED}, take it out")
    if status.st_size == 0:
        raise ImageError(f"{path}: the file is empty; {EXPECTED}, copy or export it again")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{path}: {status.st_size} bytes, more than the limit of {MAX_BYTES}; cut or shrink it first")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); {EXPECTED}") from error
    with file:
        yield file
