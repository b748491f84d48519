"""FLIR's radiometric JPEG: temperatures from the sensor's counts, and the photograph that some cameras store beside.

Counts become degrees C by the camera's Planck constants R1, R2, B, F and O: T = B / ln(R1 / (R2 (S + O)) + F), S being
the counts less what the surroundings reflect and the air emits, over the object's emissivity and the air's transmission
(Minkina and Dudzik, Infrared Thermography: Errors and Uncertainties, Wiley 2009).  The
package `flyr` does this with what the file says of emissivity, distance, humidity and temperatures.
"""

from pathlib import Path
from typing import Any

import numpy as np

from adasffuse.images.extras import needed
from adasffuse.images.formats import Stored
from adasffuse.images.image import ImageError

_TAILS = 0.1, 99.9  # percentiles of the temperatures of one file that become black and white


def read_temperatures(path: str | Path) -> np.ndarray:
    """Degrees C, (H, W) float32.

    Raises:
        ImageError: the package is missing, or the file holds no raw thermal data.
    """
    return np.asarray(_thermogram(path).celsius, np.float32)


def read_photograph(path: str | Path) -> np.ndarray | None:
    """The photograph that the camera took beside, (H, W, 3) uint8; None where the file has none."""
    return _thermogram(path).optical


def thermal_image(path: str | Path) -> Stored:
    """The temperatures as stored values; without another range their lowest and highest become black and white."""
    celsius = read_temperatures(path)
    low, high = (float(value) for value in np.percentile(celsius, _TAILS))
    high = max(high, low + 0.1)
    notice = (
        f"temperatures of {low:.1f} to {high:.1f} degrees C become black to white; give a value range, LOW HIGH in "
        "degrees C, or 'folder', for one that serves all files"
    )
    return Stored(celsius, "gray", (notice,), (low, high), fixed=True)


def _thermogram(path: str | Path) -> Any:
    flyr = needed("flyr", path)
    try:
        return flyr.unpack(str(path))
    except (ValueError, KeyError, IndexError, AssertionError, OSError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{path}: no raw thermal data that could be read ({error}); expected a radiometric JPEG of a FLIR camera, "
            "as it comes from the camera"
        ) from error
