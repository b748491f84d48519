"""Where the pixels of an orthophoto lie on the map, by the tags of GeoTIFF (OGC 19-008r4)."""

import numpy as np
import tifffile

from adasffuse.images.image import Plane

_SCALE, _TIEPOINTS, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_TYPES = {_SCALE: "d", _TIEPOINTS: "d", _MATRIX: "d", _KEYS: "H", 34736: "d", 34737: "s"}  # of the tags
MAP_TAGS = (_TIEPOINTS, _MATRIX)  # either says where pixels lie
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # keys
_POINT = 2  # raster type: a position is that of a pixel's middle, not of its corner
_USER_DEFINED = 32767  # a code that names nothing


def plane_on_map(tags: tifffile.TiffTags) -> Plane | None:
    """Where the pixels of a TIFF page lie, with the tags that say so.

    None where it has none, or no regular grid.  Places are in the units of the map (metres, degrees), the third
    coordinate is 0.
    """
    values = {code: tags[code].value for code in _TYPES if code in tags}
    try:
        matrix = _matrix(values)
        keys = _keys(values.get(_KEYS, ()))
    except (ValueError, TypeError, IndexError):
        return None
    if matrix is None:
        return None
    middle = 0.0 if keys.get(_RASTER_TYPE) == _POINT else 0.5
    steps = matrix[:, :2].T  # along x and along y
    lengths = np.linalg.norm(steps, axis=1)
    if not (np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:, :2])) > 0):
        return None
    directions = np.column_stack([steps / lengths[:, None], np.zeros(2)])
    code = keys.get(_PROJECTED, keys.get(_GEOGRAPHIC, _USER_DEFINED))
    return Plane(
        spacing=(float(lengths[1]), float(lengths[0])),
        corner=(*map(float, matrix @ [middle, middle, 1]), 0.0),
        directions=tuple(map(float, directions.ravel())),
        frame_of_reference="" if code == _USER_DEFINED else f"EPSG:{code}",
        map_tags=tuple((code, _TYPES[code], _written(tags[code])) for code in values),
    )


def _matrix(values: dict) -> np.ndarray | None:
    """(2, 3) from x, y, 1 of pixels, counted from the corner of the first one, to the map; None where it is not one."""
    if _MATRIX in values:
        return np.array(values[_MATRIX], float).reshape(4, 4)[:2, [0, 1, 3]]
    points = np.array(values.get(_TIEPOINTS, ()), float).reshape(-1, 6)
    if len(points) != 1 or _SCALE not in values:
        return None  # control points without a grid
    (x, y), (east, north) = points[0, :2], points[0, 3:5]
    width, height = map(float, values[_SCALE][:2])
    return np.array([[width, 0, east - width * x], [0, -height, north + height * y]])


def _keys(directory: tuple[int, ...]) -> dict[int, int]:
    """The keys of a GeoKeyDirectory whose values stand in it."""
    entries = np.array(directory, int)
    entries = entries[4 : 4 + 4 * (len(entries) // 4 - 1)].reshape(-1, 4)
    return {int(key): int(value) for key, place, _, value in entries if place == 0}


def _written(tag: tifffile.TiffTag) -> bytes | tuple:
    """The value of a tag, as it is written; texts are as long as they were, since keys count their bytes."""
    if not isinstance(tag.value, str):
        return tag.value if isinstance(tag.value, bytes) else tuple(np.atleast_1d(tag.value).tolist())
    content = tag.value.encode()
    return content if len(content) < tag.count else tag.value.encode("latin-1", "replace")
