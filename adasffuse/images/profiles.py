"""Colour of stored values to sRGB: ICC profiles, CMYK and CIE L*a*b*.

Little CMS does the work, at 8 or 16 bits, with relative colorimetric intent.
"""

import io
from dataclasses import dataclass

import imagecodecs
import numpy as np
from PIL import ImageCms

_RELATIVE_COLORIMETRIC = 1
_NO_OPTIMIZATION = 0x100  # with its default tables, dark 16-bit values would be off by up to 20 of 255 levels
_PROFILE_SPACES = {"gray": "GRAY", "rgb": "RGB", "cmyk": "CMYK"}  # names of the ICC specification
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)


def to_srgb(values: np.ndarray, space: str, profile: bytes | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values of the same depth in sRGB, and what was done to them.

    Args:
        values: uint8 or uint16 over their whole range, (H, W) 'gray', (H, W, 3) 'rgb', (H, W, 4) 'cmyk' (0 is no ink).
        space: 'gray', 'rgb' or 'cmyk'.
        profile: the file's ICC profile; None, or one that is broken or made for another space: gray and RGB values
            are taken as sRGB, CMYK is converted by the plain formula R = (1 - C)(1 - K).
    Returns:
        (H, W) gray or (H, W, 3) RGB of the dtype of `values`, and notices without the file's name.
    """
    notices = ()
    if profile:
        opened, reason = _open_profile(profile, space)
        if opened:
            return _converted(values, space, opened)
        notices = (f"{reason}; ignored",)
    if space == "cmyk":
        return _plain_rgb(values), (*notices, "CMYK converted to RGB without a profile, colours are approximate")
    return values, notices


def lab_to_srgb(lab: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """CIE L*a*b* (D50), float (H, W, 3) with L* in 0..100, to sRGB (H, W, 3) of `dtype`, uint8 or uint16."""
    encoded = np.stack([lab[..., 0] / 100 * 65535, (lab[..., 1] + 128) * 257, (lab[..., 2] + 128) * 257], axis=-1)
    stored = np.rint(encoded.clip(0, 65535)).astype(np.uint16)  # the 16-bit encoding of ICC profiles, version 4
    return _transform(stored, imagecodecs.cms_profile("lab4"), "lab", dtype)


@dataclass(frozen=True)
class _Profile:
    """An ICC profile that can be used, and what it is called."""

    data: bytes
    name: str


def _open_profile(profile: bytes, space: str) -> tuple[_Profile | None, str]:
    """The profile, or None and why it cannot be used."""
    try:
        core = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        found, name = core.xcolor_space.strip(), (core.profile_description or "unnamed").strip()
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return None, "its ICC profile is broken"
    if found != _PROFILE_SPACES[space]:
        return None, f"its ICC profile {name!r} is made for {found}, not for {_PROFILE_SPACES[space]}"
    return _Profile(profile, name), ""


def _converted(values: np.ndarray, space: str, profile: _Profile) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `to_srgb`, by a profile of that space; gray levels through a table of all of them."""
    try:
        if space == "gray":
            levels = np.arange(np.iinfo(values.dtype).max + 1, dtype=values.dtype)[None]
            table = _transform(levels, profile.data, "gray", values.dtype)[0, :, 1]
            if _nearly_equal(table, levels[0]):
                return values, ()
            return table[values], (f"gray levels converted from {profile.name!r} to those of sRGB",)
        if space == "rgb" and _nearly_equal(_transform(_GRID, profile.data, "rgb", np.uint8), _GRID):
            return values, ()  # sRGB under any name: not even rounding changes it
        rgb = _transform(values, profile.data, space, values.dtype)
    except (RuntimeError, ValueError):
        plain = values if space != "cmyk" else _plain_rgb(values)
        return plain, (f"its ICC profile {profile.name!r} cannot be applied; ignored",)
    kind = "CMYK" if space == "cmyk" else "colours"
    return rgb, (f"{kind} converted from {profile.name!r} to sRGB",)


def _nearly_equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of levels differ by no more than one of 255 levels."""
    return bool(np.abs(a.astype(np.int32) - b).max() <= np.iinfo(a.dtype).max // 255)


def _transform(values: np.ndarray, profile: bytes, space: str, dtype: np.dtype) -> np.ndarray:
    """(H, W, 3) sRGB of `dtype`, uint8 or uint16, of values in a profile's space."""
    return imagecodecs.cms_transform(
        np.ascontiguousarray(values),
        profile,
        imagecodecs.cms_profile("srgb"),
        colorspace=space,
        outcolorspace="rgb",
        outdtype=np.dtype(dtype),
        intent=_RELATIVE_COLORIMETRIC,
        flags=_NO_OPTIMIZATION,
    )


def _plain_rgb(cmyk: np.ndarray) -> np.ndarray:
    """(1 - C)(1 - K), and so on for M and Y, (H, W, 3) of the same type."""
    white = np.float32(np.iinfo(cmyk.dtype).max)
    light = white - cmyk.astype(np.float32)
    return np.rint(light[..., :3] * light[..., 3:] / white).astype(cmyk.dtype)
