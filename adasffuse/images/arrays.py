"""Images that a caller holds in memory: NumPy arrays, tensors, PIL images; each as an `Image`, or refused."""

from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow
from PIL import ImageOps

from adasffuse.images.false_colors import FindPalette, palette_of
from adasffuse.images.image import Image, ImageError
from adasffuse.images.masks import without_alpha
from adasffuse.images.pillow_formats import png_notices, stored_of_pillow
from adasffuse.images.read import Reading, interpret, read_image
from adasffuse.images.stored import DAMAGE, Stored

_DEEP_MODES = ("I", "F")  # of Pillow, and those that start with "I;16": measurements, taken as they are
_MODES = ("1", "L", "LA", "La", "RGB", "CMYK", "P", "PA", "RGBA", "RGBa", "RGBX", "HSV", "YCbCr")  # of Pillow, 8 bits
_ROUNDING = 1e-3  # values so far outside [0, 1], as arithmetic in float16 leaves them, are clipped
_DEPTHS = {np.dtype(np.uint8): "8", np.dtype(np.uint16): "16"}


def as_image(
    source: Any,
    name: str = "the image",
    value_range: tuple[float, float] | None = None,
    no_data: float | None = None,
    thermal: bool = False,
    border: bool = True,
    find_palette: FindPalette = palette_of,
) -> Image:
    """Any image that a caller may hold.

    Args:
        source: a path; an `Image`; a PIL image of any mode but LAB; an array (H, W), (H, W, 1), RGB (H, W, 3) or RGBA
            (H, W, 4); or a tensor (H, W), or (C, H, W) with 1, 3 or 4 channels.  Alpha 0 is no data, with a notice.
            uint8 spans 0..255, uint16 0..65535, float [0, 1] (a thousandth beyond is clipped); other integers, and
            float of another span, need a `value_range`.  NaN and infinity mean "no data".
        name: what errors and notices call it.
        value_range, no_data, thermal, border, find_palette: as in `read_image`.
    Raises:
        ImageError: another type, shape or span, a masked array, or an `Image` together with a range or a value that
            means no data, which come too late for it; always with the name.
    """
    if no_data is not None and not isinstance(no_data, Real):
        raise ImageError(f"{name}: the value that means no data must be a number, got {no_data!r}")
    if isinstance(source, Image):
        if value_range is not None or no_data is not None:
            raise ImageError(
                f"{name}: is an Image, whose values are on [0, 1] already; give its range and its value that means no "
                "data to read_image or as_image, which make it"
            )
        return source
    if isinstance(source, str | PathLike):
        return read_image(Path(source), value_range, no_data, thermal, border=border, find_palette=find_palette)
    stored = _from_pillow(source, name) if isinstance(source, pillow.Image) else _from_array(source, name)
    kind = stored.values.dtype.kind
    if kind not in "uif":
        raise ImageError(f"{name}: has values of type {stored.values.dtype}; give uint8, uint16 or float in [0, 1]")
    if kind == "f" and value_range is None:
        _check_unit_range(stored.values, no_data, name)
    depth = _DEPTHS.get(stored.values.dtype, "float" if kind == "f" or stored.values.itemsize > 2 else "16")
    reading = Reading(value_range, no_data, thermal, border=border, find_palette=find_palette)
    return interpret(stored, depth, name, reading)


def _check_unit_range(values: np.ndarray, no_data: float | None, name: str) -> None:
    """Raise ImageError where floating-point data lie outside [0, 1]."""
    known = np.isfinite(values)
    if no_data is not None:
        known &= values != no_data
    data = values[known]
    if data.size and not (data.min() >= -_ROUNDING and data.max() <= 1 + _ROUNDING):
        raise ImageError(
            f"{name}: has float values {data.min():g} to {data.max():g}, outside [0, 1]; scale it, or give its value "
            "range, LOW HIGH"
        )


def decode_pillow(image: pillow.Image, name: str) -> pillow.Image:
    """Decode a PIL image, which PIL does when an image is used, not when it is opened; the same image.

    Raises:
        ImageError: it is damaged or truncated.
    """
    try:
        image.load()
    except DAMAGE as error:
        raise ImageError(f"{name}: is a PIL image that is damaged or truncated ({error}); give a whole one") from error
    return image


def values_of_tensor(tensor: Any, name: str) -> np.ndarray:
    """The values of a tensor, its axes as they are; floats narrower than 32 bits, which NumPy may lack, as float32.

    Raises:
        ImageError: it has none of its own: it is nested, sparse, quantised, or on the device 'meta'.
    """
    if tensor.is_nested:
        raise ImageError(f"{name}: is a nested tensor; give one of its images, or a list of them as a batch")
    if tensor.is_meta:
        raise ImageError(f"{name}: is a tensor on the device 'meta', without values; give one on a CPU or GPU")
    if str(tensor.layout) != "torch.strided":
        raise ImageError(f"{name}: is of layout {tensor.layout}; give a dense tensor, as to_dense() returns it")
    if tensor.is_quantized:
        raise ImageError(f"{name}: is a quantised tensor; give its values, as dequantize() returns them")
    is_short = tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4
    return (tensor.float() if is_short else tensor).numpy(force=True)


def _from_pillow(image: pillow.Image, name: str) -> Stored:
    """What a PIL image holds; errors as of `as_image`."""
    if not image.width or not image.height:
        raise ImageError(f"{name}: is a PIL image of {image.width}x{image.height} pixels, without any; give another")
    image = ImageOps.exif_transpose(decode_pillow(image, name))
    notices = png_notices(image)
    if image.mode in _DEEP_MODES or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.dtype.kind == "u":
            values = values.astype(values.dtype.newbyteorder("="))
        return Stored(values, "gray", notices, _span(values))
    if image.mode not in _MODES:
        raise ImageError(f"{name}: is a PIL image of mode {image.mode}; convert it to RGB first")
    return stored_of_pillow(image, notices)


def _from_array(source: Any, name: str) -> Stored:
    """What an array or a tensor holds; errors as of `as_image`."""
    # Not isinstance: what scores files should not have to load PyTorch.
    is_tensor = hasattr(source, "detach") and hasattr(source, "dtype")
    values = values_of_tensor(source, name) if is_tensor else _values_of_array(source, name)
    wanted = "(H, W) or (C, H, W)" if is_tensor else "(H, W) or (H, W, C)"
    channels = values.shape[0 if is_tensor else -1] if values.ndim == 3 else 1
    if values.size == 0 or values.ndim not in (2, 3) or channels not in (1, 3, 4):
        hint = ""
        if values.ndim == 3:
            other = values.shape[-1 if is_tensor else 0]
            batch = "(B, 1, H, W)" if is_tensor else "(B, H, W, 1)"
            hint = f"; of a volume give one slice, or its file to adasffuse.inference.fuse_volumes; a batch is {batch}"
            if other in (1, 3, 4):
                hint = f"; move the channels {'first' if is_tensor else 'last'}"
        raise ImageError(f"{name}: must be {wanted} with C 1, 3 or 4, got shape {tuple(values.shape)}{hint}")
    if values.ndim == 3 and is_tensor:
        values = np.moveaxis(values, 0, -1)
    values, opaque, notices = without_alpha(values)
    return Stored(values, "gray" if values.ndim == 2 else "rgb", notices, _span(values), opaque=opaque)


def _values_of_array(source: Any, name: str) -> np.ndarray:
    """The values of an array, or of what NumPy makes an array of, in the byte order of this machine."""
    if np.ma.is_masked(source):
        raise ImageError(
            f"{name}: is a masked array, whose mask would be lost; fill it with NaN, or with a value that you also "
            "name as the one that means no data: source.filled(0) and 0"
        )
    if isinstance(source, bytes | bytearray) or hasattr(source, "read"):
        raise ImageError(
            f"{name}: is the content of a file, of type {type(source).__name__}; give its path, or what "
            "PIL.Image.open(file) returns, of bytes PIL.Image.open(io.BytesIO(content))"
        )
    values = np.asarray(source)
    if not values.ndim and (values.dtype == object or not hasattr(source, "ndim")):
        raise ImageError(f"{name}: is of type {type(source).__name__}; give a path, an array, a tensor or a PIL image")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _span(values: np.ndarray) -> tuple[float, float] | None:
    """Values of black and white, None where the type does not say."""
    if values.dtype.kind == "f":
        return (0, 1)
    return (0, np.iinfo(values.dtype).max) if values.dtype in _DEPTHS else None
