"""What a user should know of two sequences of frames that are fused: what holds for many frames is said once."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from adasffuse.images.color import is_colorful
from adasffuse.images.image import Image
from adasffuse.images.notices import LOOKED_AT, InfraredLook, infrared_notices, swapped_notice, without_numbers
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.misalignment import misaligned_frames_notice, seen_misalignment
from adasffuse.messages import counted
from adasffuse.registration.aligner import Aligner
from adasffuse.registration.estimate import Glance


class FrameNotices:
    """Notices of frames, from the first on.

    Args:
        fuser, align: that they are fused with.
        due: called once for each pair of frames: whether it is looked at for what takes longer to see: noise, whether
            hot things seem to be dark, and whether both lie on each other.
        live: they come from cameras.
    """

    def __init__(self, fuser: Fuser, align: Aligner | None, due: Callable[[], bool], live: bool = False) -> None:
        self._fuser, self._align, self._due, self._live = fuser, align, due, live
        self._texts: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._colored, self._frames = [0, 0], 0
        self._looks: list[InfraredLook | None] = []
        self._off: list[Glance | None] = []  # see `seen_misalignment`

    def add(self, texts: Sequence[str], first: Image, second: Image) -> None:
        """A pair of frames, as they are fused, and what preparing them has said."""
        self._frames += 1
        for text in texts:
            kind = without_numbers(text)  # they differ from frame to frame
            self._texts.setdefault(kind, text)
            self._counts[kind] += 1
        for k, image in enumerate((first, second)):
            self._colored[k] += is_colorful(image.pixels)
        if self._due() and not self.complete:
            self._looks.append(self._fuser.look_at(None, [first, second]))
            self._off.append(seen_misalignment(self._fuser.task, [first, second], self._align))

    @property
    def complete(self) -> bool:
        """Whether as many frames were looked at as are needed."""
        return len(self._looks) >= LOOKED_AT

    def texts(self, name: str, encoded: tuple[int, int] | None) -> list[str]:
        """The notices.

        Args:
            name: of source A, a file, folder or camera.
            encoded: height and width of the frames of B where they become a video.
        """
        said = [
            f"{text} ({self._counts[kind]} of {counted(self._frames, 'frame')})" for kind, text in self._texts.items()
        ]
        said += infrared_notices(self._looks, self._fuser.denoise, Path(name))
        said += misaligned_frames_notice(self._off, self._align, self._live)
        said += swapped_notice(self._fuser.task, self._colored, self._frames, kind="frames")
        if encoded is not None and (encoded[0] % 2 or encoded[1] % 2):
            height, width = (side + side % 2 for side in encoded)
            said.append(f"H.264 needs even sides: the last row or column is written twice, {width}x{height} pixels")
        return said


def every(step: int) -> Callable[[], bool]:
    """Whether it is called for the first time, or the `step`-th time after."""
    numbers = itertools.count()
    return lambda: next(numbers) % step == 0
