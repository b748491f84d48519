"""Frames of two sequences that belong together, by their times, and sequences that do not fit together."""

import itertools
from collections.abc import Iterator
from fractions import Fraction

from adasffuse.images.frame_folders import FrameFolder
from adasffuse.images.frames import Frame, FrameError, VideoFile
from adasffuse.images.image import ImageError

Frames = VideoFile | FrameFolder


class FramePairs:
    """Frames of A and B that belong together: for every frame of B, A's nearest in time, counted from both first ones.

    Args:
        a, b: the sequences.
    Attributes:
        repeated, unused, apart: as in `VideoReport`, of what was iterated over so far.
        damage: why one of them ended early, '' where it did not.
        shorter: which of them is shorter, a sentence, '' for none.
    """

    def __init__(self, a: Frames, b: Frames) -> None:
        self.a, self.b = a, b
        self.repeated = self.unused = 0
        self.apart, self.damage, self.shorter = 0.0, "", ""

    def __iter__(self) -> Iterator[tuple[Frame, Frame]]:
        others, leading = iter(self.a), iter(self.b)
        current, after = self._next(others), self._next(others)
        used, frame = 0, None
        while current is not None and (following := self._next(leading)) is not None:
            frame, seconds = following, following.seconds
            while after is not None and abs(after.seconds - seconds) <= abs(current.seconds - seconds):
                if used == 0:
                    self.unused += 1
                current, after, used = after, self._next(others), 0
            late = seconds - current.seconds
            if after is None and self.damage and late > 1 / (2 * self.a.rate):
                return
            if after is None and seconds > _end(self.a, current, tolerance(self.a, self.b)):
                self.shorter = _ends_before(self.a, current.seconds, self.b) + rate_hint(self.a, self.b)
                return
            used += 1
            if used == 2:
                self.repeated += 1
            self.apart = max(self.apart, float(abs(late)))
            yield current, frame
        if frame is None:
            return
        until = _end(self.b, frame, tolerance(self.a, self.b))
        while after is not None and after.seconds <= until:
            after = self._next(others)
        if after is not None and not self.damage:
            self.shorter = _ends_before(self.b, frame.seconds, self.a) + rate_hint(self.a, self.b)

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        try:
            return next(frames, None)
        except FrameError as error:
            self.damage = str(error)
            return None


def _end(frames: Frames, last: Frame, late: Fraction) -> float:
    """Seconds until which the last frame of a sequence may be used; by the header it may be shown for long."""
    return max(float(last.seconds + late), frames.duration or 0.0)


def _ends_before(shorter: Frames, seconds: Fraction, longer: Frames) -> str:
    until = float(seconds + shorter.skipped)  # in its own time
    return f"{shorter.path} ends at {until:.2f} s, before {longer.path}; what both have was used"


def tolerance(a: Frames, b: Frames) -> Fraction:
    """Seconds that one sequence may end before the other without being shorter: one and a half frames."""
    return 3 / (2 * min(a.rate, b.rate))


def check_pair(a: Frames, b: Frames, shortest: bool = False, aligned: bool = False) -> None:
    """Refuse sequences that do not fit together, before any work.

    Args:
        shortest: one may be shorter than the other.
        aligned: they may differ in size.
    Raises:
        ImageError: sizes differ, one is shorter by its header, or both are one file.
    """
    if isinstance(a, VideoFile) and isinstance(b, VideoFile) and a.path.samefile(b.path):
        raise ImageError(f"both sources are one file, {a.path}: every frame would be fused with itself")
    if (a.height, a.width) != (b.height, b.width) and not aligned:
        raise ImageError(
            f"sizes differ: {a.path} is {a.width}x{a.height}, {b.path} is {b.width}x{b.height} pixels; two fixed "
            "cameras are aligned by --align affine, or by --calibration FILE of adasffuse align A B --save FILE"
        )
    if a.duration is None or b.duration is None or shortest:
        return
    shorter, longer = (a, b) if a.duration < b.duration else (b, a)
    if longer.duration - shorter.duration > tolerance(a, b):
        raise ImageError(f"{_length(shorter)}, {_length(longer)}; --shortest fuses what both have{rate_hint(a, b)}")


def _length(one: Frames) -> str:
    skipped = f" after {float(one.skipped):.2f} s that are skipped" if one.skipped else ""
    return f"{one.path} lasts {one.duration:.2f} s{skipped}"


def rate_hint(a: Frames, b: Frames) -> str:
    """What a user should know of times where a folder of frames goes with a video, the end of a sentence; else ''."""
    folders = [one for one in (a, b) if isinstance(one, FrameFolder)]
    if len(folders) != 1:
        return ""
    return (
        f"; {folders[0].path} was taken to have {float(folders[0].rate):g} frames per second, --fps gives another rate"
    )


def spread_pairs(a: Frames, b: Frames, count: int) -> Iterator[tuple[Frame, Frame]]:
    """About `count` of the pairs of `FramePairs`, spread over both; of each second one where no header says a duration.

    Hardly more than these is read.  Errors as of `VideoFile.frames_near`.
    """
    seconds = [one.duration for one in (a, b) if one.duration is not None]
    step = max(1, int(min(seconds) * b.rate / count if seconds else b.rate))
    leading, same = itertools.tee(b.frames_near(number / b.rate for number in itertools.count(step // 2, step)))
    yield from zip(a.frames_near(frame.seconds for frame in same), leading)
