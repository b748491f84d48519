"""Whether images of one camera lie on each other: focus breathing and moved cameras double edges."""

from contextlib import suppress

import numpy as np

from adasffuse.images.image import Image
from adasffuse.images.levels import luma_of
from adasffuse.registration.stacks import reduced, register_to
from adasffuse.registration.transform import AlignmentError, corner_shifts

_SIDE = 320  # pixels of the longer side of the copies that are compared
_LEAST, _LEAST_SHARE = 3.0, 0.001  # movement that is worth a notice: pixels, and of the longer side
_CLEAR = 0.5  # correlation from which a movement is believed: exposures that have little in common seem to move


class MovementWatch:
    """Looks for shift, scale and turn between focus settings, or exposures, on small copies of neighbours.

    Args:
        shifted: the images have been registered by their shift; scale and turn may be left.
    """

    def __init__(self, shifted: bool) -> None:
        self._shifted = shifted
        self._before: np.ndarray | None = None  # small copy of the last image
        self._matrices: list[np.ndarray] = []  # from the pixels of the first copy to those of each
        self._enlarged = 1.0  # pixels of an image for each of its copy

    def see(self, image: Image) -> None:
        """Take an image into account, as it is fused; images come in the order of their focus."""
        small = reduced(luma_of(image.pixels), _SIDE)
        matrix = np.eye(3)
        if self._before is not None:
            with suppress(AlignmentError):  # what cannot be compared is not reported
                matrix = register_to(self._before, small, "similarity", _CLEAR).matrix
        self._matrices.append(matrix @ self._matrices[-1] if self._matrices else matrix)
        self._enlarged = max(image.pixels.shape[:2]) / max(small.shape)
        self._before = small

    def notices(self) -> list[str]:
        """That the images are moved against each other, if so."""
        moved = self.notable()
        if moved is None:
            return []
        rest = " beyond their shift" if self._shifted else ""
        return [
            f"the images are moved against the middle one by up to {moved:.0f} pixels{rest} (focus breathing, or a "
            "camera that moved), and edges may show twice; --align similarity registers them"
        ]

    def notable(self) -> float | None:
        """The `largest` movement if it is worth a notice."""
        moved = self.largest()
        if self._before is None or moved < max(_LEAST, _LEAST_SHARE * self._enlarged * max(self._before.shape)):
            return None
        return moved

    def largest(self) -> float:
        """Pixels by which a corner of an image lies elsewhere than that of the middle image, at most."""
        if not self._matrices:
            return 0.0
        middle = self._matrices[len(self._matrices) // 2]
        size = self._before.shape
        return self._enlarged * max(float(corner_shifts(one, middle, size).max()) for one in self._matrices)
