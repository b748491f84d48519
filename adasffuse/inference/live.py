"""Fusing two cameras, or two files, as they run: in a window, into a file, or both."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from adasffuse.files import printable
from adasffuse.images.arrays import as_image
from adasffuse.images.image import Image, ImageError
from adasffuse.images.live import Camera, Unseen, Window
from adasffuse.images.video_writing import DEFAULT_QUALITY, write_video
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.video import FramePairs, Frames, Stages, check_grid, prepare_frames
from adasffuse.registration.aligner import Aligner


@dataclass
class LiveReport:
    """What became of a preview or a recording."""

    shown: int = 0  # frames that were fused, for a window, a file or both
    dropped: int = 0  # frames of B that were passed over to stay live
    seconds: float = 0.0
    problem: str = ""
    output: str = ""  # file that they were written to
    seen: bool = True  # whether in a window

    def summary(self) -> str:
        pace = self.shown / self.seconds if self.seconds else 0.0
        done = "shown" if self.seen else "recorded"
        place = f" -> {self.output}" if self.output else ""
        return printable(f"{self.shown} frames {done}, {pace:.1f} frames/s, {self.dropped} dropped{place}")


def show_files(fuser: Fuser, a: Frames, b: Frames, window: Window, align: Aligner | None = None) -> LiveReport:
    """Show the fusion of two sequences at their own speed until they end or the user does; late frames are dropped."""
    check_grid(align)
    pairs, report, started = FramePairs(a, b), LiveReport(), time.perf_counter()
    interval = float(1 / b.rate)
    with Stages() as stages:
        source = iter(pairs)
        for first, second in stages.read_ahead(lambda: next(source, None)):
            ahead = float(second.seconds) - (time.perf_counter() - started)
            if ahead < -interval and report.shown:
                report.dropped += 1
                continue
            fused = _fuse_live(fuser, first.image, second.image, align)
            ahead = float(second.seconds) - (time.perf_counter() - started)
            report.shown += 1
            window.show(fused, _live_title(report, started))
            if window.closed(max(ahead, 0)):
                break
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
) -> LiveReport:
    """Show the fusion of what two cameras see now, or only record it, until the user ends it.

    Args:
        window: where it is shown; `Unseen` where it is not.
        output: a video file that the frames are written to, with their times.
        seconds: ends it as well, from the first frames on.
        ranges, no_data: of A and of B, as in `Fuser.fuse`: frames have 8 bits, and (255, 0) inverts those of a camera
            that shows what is hot in black.
    Raises:
        ImageError: sizes differ and there is no `align`, a camera gives no frame at all, or the file cannot be
            written.
    """
    check_grid(align)
    report, started = LiveReport(output=str(output or ""), seen=not isinstance(window, Unseen)), time.perf_counter()
    readings = list(zip((a, b), ranges, no_data, fuser.task.thermal or (False, False)))
    first, second = (_newest(*reading) for reading in readings)
    began = time.perf_counter()
    height, width = second.pixels.shape[:2]
    if first.pixels.shape[:2] != (height, width) and align is None:
        other = first.pixels.shape
        raise ImageError(
            f"sizes differ: camera {a.name} is {other[1]}x{other[0]}, camera {b.name} {width}x{height} pixels; set "
            "both to one size, or align them by --calibration FILE, which adasffuse align A B --save FILE writes"
        )
    with _recorder(output, height, width, quality) as record:
        while True:
            fused = _fuse_live(fuser, first, second, align)
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
    report.seconds = time.perf_counter() - started
    return report


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


def _newest(camera: Camera, value_range: tuple[float, float] | None, no_data: float | None, thermal: bool) -> Image:
    return as_image(camera.latest(), f"camera {camera.name}", value_range, no_data, thermal, border=False)


def _fuse_live(fuser: Fuser, first: Image, second: Image, align: Aligner | None) -> np.ndarray:
    prepared = prepare_frames(fuser, first, second, align)
    return fuser.finish(fuser.fuse_prepared(prepared), prepared, depth="8")


def _live_title(report: LiveReport, started: float) -> str:
    pace = report.shown / max(time.perf_counter() - started, 1e-6)
    return f"AdaSFFuse, {pace:.1f} frames/s - q ends"
