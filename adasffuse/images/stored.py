"""What a decoder gives for a file: its values as they are stored, and what the file says about them."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image

from adasffuse.images.image import Plane

MAX_PIXELS = 2**30  # of an image, e.g. 32768 x 32768
# What the decoders raise on damaged files: Pillow and tifffile many kinds, imagecodecs RuntimeError.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    tifffile.TiffFileError,
)


class RefusedError(Exception):
    """A whole file that cannot be used; the message lacks its name and says what to do."""


def check_size(height: int, width: int) -> None:
    """Raise RefusedError for an image of more pixels than MAX_PIXELS."""
    if height * width > MAX_PIXELS:
        raise RefusedError(f"{width} x {height} pixels, more than the limit of {MAX_PIXELS}; cut or shrink it first")


@dataclass(frozen=True)
class Stored:
    """What a file holds, before anything is made of it."""

    values: np.ndarray  # (H, W) or (H, W, C), as stored
    space: str  # 'gray', 'rgb', 'cmyk' (4 channels, 0 is no ink) or 'lab' (float L* a* b*)
    notices: tuple[str, ...] = ()  # without the file's name
    span: tuple[float, float] | None = None  # values of black and white; None: the file does not say
    inverted: bool = False  # the smallest value is white
    no_data: float | None = None  # the file's own value for "no data"
    opaque: np.ndarray | None = None  # (H, W) bool, False where the file's alpha or mask says "no data"; None: nowhere
    profile: bytes | None = None  # ICC
    fixed: bool = False  # the span is what the file asks for, however little of it is used
    curve: np.ndarray | None = None  # (H, W) in [0, 1]: how the file asks to show its values; a range replaces it
    span_notice: str = ""  # what a user should know where no other range replaces the span
    plane: Plane | None = None  # of a DICOM file or a GeoTIFF


@dataclass(frozen=True)
class ImageFile:
    """An opened image file: its header, and how to get at its pixels."""

    height: int  # pixels, before it is turned
    width: int
    depth: str  # '8', '16' or 'float'
    orientation: int  # EXIF, 1..8; 1 is upright
    decode: Callable[[], Stored]  # raises what the decoders raise; call it within `open_image`

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the image once it is turned, in pixels."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)
