"""Raw files of cameras, developed to 16-bit sRGB by LibRaw (package `rawpy`)."""

from pathlib import Path

import numpy as np

from adasffuse.images.extras import import_optional
from adasffuse.images.image import ImageError
from adasffuse.images.stored import Stored


def size_of_raw(path: str | Path) -> tuple[int, int]:
    """Height and width of what `decode_raw` gives; errors as there."""
    with _opened(path) as raw:
        sizes = raw.sizes
        return (sizes.width, sizes.height) if sizes.flip in (5, 6) else (sizes.height, sizes.width)


def decode_raw(path: str | Path) -> Stored:
    """White balance of the camera, no automatic brightness: the exposures of a bracket keep their ratio; upright.

    LibRaw would take the brightest value of a file for white where it lies above three quarters of the sensor's white
    level, and would encode by the curve of BT.709: both are set here.

    Raises:
        ImageError: the package is missing, or LibRaw cannot read the file.
    """
    rawpy = import_optional("rawpy", path)
    with _opened(path) as raw:
        try:
            values = raw.postprocess(
                output_bps=16,
                no_auto_bright=True,
                adjust_maximum_thr=0,
                use_camera_wb=True,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=(2.4, 12.92),
            )
        except rawpy.LibRawError as error:
            raise ImageError(f"{path}: cannot be developed ({error}); export it as TIFF") from error
    return Stored(np.asarray(values), "rgb", (), (0, 65535), fixed=True)


def _opened(path: str | Path):
    rawpy = import_optional("rawpy", path)
    try:
        return rawpy.imread(str(path))
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise ImageError(f"{path}: no raw file that LibRaw reads ({reason}); export it as TIFF") from error
