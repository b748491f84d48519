"""Stacks in one TIFF file: multi-page files, ImageJ's hyperstacks and OME-TIFF, as microscopes write them.

Page k of a file is called 'FILE[k]', counted from 0; `read_image` and all that reads files by it take such names.
"""

import math
from pathlib import Path

import numpy as np
import tifffile

from adasffuse.images.formats import regular_file
from adasffuse.images.image import ImageError
from adasffuse.images.stored import DAMAGE

_TIFF_SUFFIXES = (".tif", ".tiff")
_IMAGE_AXES = "YXS"  # rows, columns, samples
_CHANNEL, _DEPTH = "C", "Z"


def stacks_in(path: str | Path) -> dict[str, tuple[Path, ...]]:
    """The stacks that a TIFF file holds, one for each channel and point in time; their pages from front to back.

    A file of one image, or of one image for each channel, holds none; nor does one that cannot be read.

    Returns:
        Pages of each stack by its name: '' of a single one, else '_c1', '_c2', or '_t1_c1' and so on.
    Raises:
        ImageError: no such file, an ImageJ file that was cut off, or its pages are laid out along several axes of which
            none is known to be the depth.
    """
    path = Path(path)
    if path.suffix.lower() not in _TIFF_SUFFIXES:
        return {}
    with regular_file(path) as file:
        try:
            tiff = tifffile.TiffFile(file)
            series = tiff.series[0]
            stated = (tiff.imagej_metadata or {}).get("images", 1)
            # Pairs, not a dict: files of unknown axes have several that are called 'Q'.
            axes = [(axis, size) for axis, size in zip(series.axes, series.shape) if axis not in _IMAGE_AXES]
        except DAMAGE:
            return {}
    names, sizes = [axis for axis, _ in axes], [size for _, size in axes]
    if stated > math.prod(sizes):
        raise ImageError(f"{path}: damaged or truncated, it states {stated} pages and holds fewer; copy it again")
    long = [place for place, (axis, size) in enumerate(axes) if size > 1 and axis != _CHANNEL]
    if not long:
        return {}
    depth = next((place for place in long if names[place] == _DEPTH), None)
    if depth is None and len(long) > 1:
        counts = " x ".join(f"{sizes[place]} ({names[place]})" for place in long)
        raise ImageError(f"{path}: holds {counts} images and does not say which are a stack; save each as a file")
    depth = long[0] if depth is None else depth
    pages = np.moveaxis(np.arange(math.prod(sizes)).reshape(sizes), depth, -1)
    others = [axis for place, axis in enumerate(axes) if place != depth]
    stacks = {}
    for index in np.ndindex(pages.shape[:-1]):
        name = "".join(f"_{axis.lower()}{k + 1}" for (axis, size), k in zip(others, index) if size > 1)
        stacks[name] = tuple(path.with_name(f"{path.name}[{page}]") for page in pages[index])
    return stacks
