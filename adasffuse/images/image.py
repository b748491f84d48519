"""An image in memory: pixels with what is needed to interpret them."""

from dataclasses import dataclass

import numpy as np


class ImageError(ValueError):
    """An image file or a folder of images that cannot be used; the message names it and says what to do."""


class ImageNotice(UserWarning):
    """What a user should know about an image that is used all the same, such as a hardly used range of values."""


@dataclass(frozen=True)
class Plane:
    """What a DICOM file says of its slice, or a GeoTIFF of its place on the map; None for what it does not say.

    Places are in mm, as DICOM has them, or in the units of the map.
    """

    spacing: tuple[float, float] | None = None  # between rows and between columns, mm, in the body
    detector_spacing: tuple[float, float] | None = None  # the same at a detector, before which the body lies
    corner: tuple[float, ...] | None = None  # place of the middle of the first pixel, 3 numbers
    directions: tuple[float, ...] | None = None  # along a row and along a column, 3 cosines each
    thickness: float | None = None  # of the slice, mm
    frame_of_reference: str = ""  # name of the coordinates
    modality: str = ""  # 'CT', 'PT', 'NM', 'MR', ...
    map_tags: tuple[tuple[int, str, object], ...] = ()  # code, type, value of a GeoTIFF's tags that say all this

    def without_place(self) -> "Plane":
        """What still holds where the pixels have moved, or where the file is wrong about their places."""
        return Plane(modality=self.modality)


@dataclass(frozen=True)
class Image:
    """Pixels of one file, turned upright, in sRGB."""

    # (H, W) gray or (H, W, 3) sRGB, float32 in [0, 1], 0 where `valid` is False.  Of large images that `read_image` was
    # asked to keep as levels: uint8 or uint16, see `adasffuse.images.levels`.
    pixels: np.ndarray
    depth: str = "8"  # '8', '16' or 'float': how deep the file's values are
    window: tuple[float, float] = (0.0, 255.0)  # values, in the file's units, that are 0 and 1 in `pixels`
    valid: np.ndarray | None = None  # (H, W) bool, False where the file holds no data; None: data everywhere
    notices: tuple[str, ...] = ()  # what a user should know, e.g. that alpha was dropped; each names the file
    plane: Plane | None = None  # of a DICOM file or a GeoTIFF, where its pixels lie
