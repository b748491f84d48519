"""Fusing two cameras, or two files, as they run: in a window, into a file, or both."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from adasffuse.images.arrays import as_image
from adasffuse.images.false_colors import SteadyPalette
from adasffuse.images.image import Image, ImageError
from adasffuse.images.live import Camera, Unseen, Window
from adasffuse.images.video_writing import DEFAULT_QUALITY, write_video
from adasffuse.inference.frame_notices import FrameNotices
from adasffuse.inference.frame_pairs import FramePairs, Frames
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.video import Stages, check_grid, prepare_frames
from adasffuse.messages import counted, printable
from adasffuse.registration.aligner import Aligner

Tell = Callable[[Sequence[str]], None]


@dataclass
class LiveReport:
    """What became of a preview or a recording."""

    shown: int = 0  # frames that were fused, for a window, a file or both
    dropped: int = 0  # frames of B that were passed over to stay live
    seconds: float = 0.0
    problem: str = ""
    output: str = ""  # file that they were written to
    seen: bool = True  # whether in a window
    notices: list[str] = field(default_factory=list)  # of the first frames

    def summary(self) -> str:
        pace = self.shown / self.seconds if self.seconds else 0.0
        done = "shown" if self.seen else "recorded"
        place = f" -> {self.output}" if self.output else ""
        return printable(f"{counted(self.shown, 'frame')} {done}, {pace:.1f} frames/s, {self.dropped} dropped{place}")


def show_files(
    fuser: Fuser, a: Frames, b: Frames, window: Window, align: Aligner | None = None, tell: Tell = lambda notices: None
) -> LiveReport:
    """Show the fusion of two sequences at their own speed until they end or the user does; late frames are dropped.

    Args:
        tell: called once with what a user should know, as soon as enough frames were looked at, or at the end.
    """
    check_grid(align)
    pairs, report, started = FramePairs(a, b), LiveReport(), time.perf_counter()
    notices = _FirstNotices(fuser, align, report, str(a.path), tell)
    interval = float(1 / b.rate)
    with Stages() as stages:
        source = iter(pairs)
        for first, second in stages.read_ahead(lambda: next(source, None)):
            ahead = float(second.seconds) - (time.perf_counter() - started)
            if ahead < -interval and report.shown:
                report.dropped += 1
                continue
            fused = _fuse_live(fuser, first.image, second.image, align, notices)
            ahead = float(second.seconds) - (time.perf_counter() - started)
            report.shown += 1
            window.show(fused, _live_title(report, started))
            if window.closed(max(ahead, 0)):
                break
    notices.tell()
    report.seconds, report.problem = time.perf_counter() - started, pairs.damage
    return report


def show_cameras(
    fuser: Fuser,
    a: Camera,
    b: Camera,
    window: Window | Unseen,
    output: str | Path | None = None,
    quality: int = DEFAULT_QUALITY,
    align: Aligner | None = None,
    seconds: float | None = None,
    ranges: tuple[tuple[float, float] | None, ...] = (None, None),
    no_data: tuple[float | None, ...] = (None, None),
    tell: Tell = lambda notices: None,
) -> LiveReport:
    """Show the fusion of what two cameras see now, or only record it, until the user ends it.

    Args:
        window: where it is shown; `Unseen` where it is not.
        output: a video file that the frames are written to, with their times.
        seconds: ends it as well, from the first frames on.
        ranges, no_data: of A and of B, as in `Fuser.fuse`: frames have 8 bits, and (255, 0) inverts those of a camera
            that shows what is hot in black.
        tell: as in `show_files`.
    Raises:
        ImageError: sizes differ and there is no `align`, a camera gives no frame at all, or the file cannot be
            written.
    """
    check_grid(align)
    report, started = LiveReport(output=str(output or ""), seen=not isinstance(window, Unseen)), time.perf_counter()
    thermal = fuser.task.thermal or (False, False)
    readings = list(zip((a, b), ranges, no_data, thermal, (SteadyPalette(), SteadyPalette())))
    first, second = (_newest(*reading) for reading in readings)
    began = time.perf_counter()
    height, width = second.pixels.shape[:2]
    if first.pixels.shape[:2] != (height, width) and align is None:
        other = first.pixels.shape
        raise ImageError(
            f"sizes differ: camera {a.name} is {other[1]}x{other[0]}, camera {b.name} {width}x{height} pixels; set "
            "both to one size, or align them by --calibration FILE, which adasffuse align A B --save FILE writes"
        )
    encoded = None if output is None else (height, width)
    notices = _FirstNotices(fuser, align, report, f"camera {a.name}", tell, encoded, live=True)
    with _recorder(output, height, width, quality) as record:
        while True:
            fused = _fuse_live(fuser, first, second, align, notices)
            report.shown += 1
            window.show(fused, _live_title(report, started))
            record(fused, time.perf_counter() - started)
            if window.closed() or (seconds is not None and time.perf_counter() - began >= seconds):
                break
            try:
                first, second = (_newest(*reading) for reading in readings)
            except ImageError as error:  # what was recorded is kept
                report.problem = str(error)
                break
    notices.tell()
    report.seconds = time.perf_counter() - started
    return report


class _FirstNotices(FrameNotices):
    """Notices of what is shown, told once: of the first frames, some of them looked at, one a second.

    Args:
        fuser, align, live: as of `FrameNotices`.
        report: takes them.
        name, encoded: as of `FrameNotices.texts`.
        tell: as in `show_files`.
    """

    def __init__(
        self,
        fuser: Fuser,
        align: Aligner | None,
        report: LiveReport,
        name: str,
        tell: Tell,
        encoded: tuple[int, int] | None = None,
        live: bool = False,
    ) -> None:
        super().__init__(fuser, align, self._is_second, live)
        self._report, self._name, self._encoded, self._tell = report, name, encoded, tell
        self._told, self._looked = False, time.perf_counter()

    def add(self, texts: Sequence[str], first: Image, second: Image) -> None:
        if not self._told:
            super().add(texts, first, second)
        if self.complete:
            self.tell()

    def tell(self) -> None:
        if not self._told:
            self._told, self._report.notices = True, self.texts(self._name, self._encoded)
            self._tell(self._report.notices)

    def _is_second(self) -> bool:
        """Whether a second has passed since this was so, or since the beginning."""
        now = time.perf_counter()
        if now - self._looked < 1:
            return False
        self._looked = now
        return True


@contextmanager
def _recorder(
    output: str | Path | None, height: int, width: int, quality: int
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Called with pixels and seconds."""
    if output is None:
        yield lambda pixels, seconds: None
        return
    last = -1
    with write_video(output, height, width, Fraction(30), Fraction(1, 1000), quality) as writer:

        def record(pixels: np.ndarray, seconds: float) -> None:
            nonlocal last
            last = max(last + 1, round(1000 * seconds))
            writer.write(pixels, last)

        yield record
        writer.finish((last + 33) / 1000)


def _newest(
    camera: Camera,
    value_range: tuple[float, float] | None,
    no_data: float | None,
    thermal: bool,
    palettes: SteadyPalette,
) -> Image:
    name = f"camera {camera.name}"
    return as_image(camera.latest(), name, value_range, no_data, thermal, border=False, find_palette=palettes)


def _fuse_live(fuser: Fuser, first: Image, second: Image, align: Aligner | None, notices: FrameNotices) -> np.ndarray:
    prepared = prepare_frames(fuser, first, second, align, notices)
    return fuser.finish(fuser.fuse_prepared(prepared), prepared, depth="8")


def _live_title(report: LiveReport, started: float) -> str:
    pace = report.shown / max(time.perf_counter() - started, 1e-6)
    return f"AdaSFFuse, {pace:.1f} frames/s - q ends"
