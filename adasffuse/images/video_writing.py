"""Writing videos: H.264 of rounded frames, with the sound of another file."""

import errno
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from adasffuse.files import remove_abandoned, replacing
from adasffuse.images.color import as_rgb
from adasffuse.images.frames import BT709, EXACT, FULL, LIMITED, load_av
from adasffuse.images.image import ImageError
from adasffuse.messages import DISK_FULL

DEFAULT_QUALITY = 18  # x264's constant rate factor
WORST_QUALITY = 51
_HOLD_MOST = {".mkv": "matroska", ".mov": "mov"}  # suffix and format of files that hold most kinds of sound


class FrameWriter:
    """Writes frames into a video; see `write_video`."""

    def __init__(self, container: Any, stream: Any, sound: "Sound | None") -> None:
        self._container, self._stream, self._sound = container, stream, sound
        self._av = load_av()

    def write(self, pixels: np.ndarray, pts: int) -> None:
        """Encode one frame, (H, W) or (H, W, 3) uint8, shown from `pts` time units on."""
        frame = _as_yuv(self._av, pixels, self._stream)
        frame.pts, frame.time_base = pts, self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))
        if self._sound is not None:
            self._sound.copy_until(self._container, float(pts * frame.time_base))

    def finish(self, end: float) -> None:
        """Encode what is still waiting, and copy the sound up to `end` seconds."""
        self._container.mux(self._stream.encode())
        if self._sound is not None:
            self._sound.copy_until(self._container, end)


class Sound:
    """The first audio stream of a video file, copied packet by packet without decoding.

    Args:
        path: the file it comes from.
        shift: seconds to add to its times.
        begin: seconds in the file's own time: packets that begin before are left out; None: all are copied.
    """

    def __init__(self, path: str | Path, shift: float = 0.0, begin: float | None = None) -> None:
        self._input = load_av().open(str(Path(path).absolute()))
        self.template = self._input.streams.audio[0]
        self._shift = round(shift / self.template.time_base)
        self._packets = (packet for packet in self._input.demux(self.template) if packet.dts is not None)
        if begin is not None:
            first = begin / self.template.time_base
            self._packets = itertools.dropwhile(lambda packet: (packet.pts or 0) < first, self._packets)
        self._next: Any = None
        self.stream: Any = None

    def copy_until(self, container: Any, seconds: float) -> None:
        """Copy the packets that begin before `seconds`."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
            packet = self._next
            if packet is None or float(((packet.pts or 0) + self._shift) * self.template.time_base) >= seconds:
                return
            packet.pts, packet.dts = packet.pts + self._shift, packet.dts + self._shift
            packet.stream = self.stream
            container.mux(packet)
            self._next = None

    def close(self) -> None:
        self._input.close()


@contextmanager
def write_video(
    path: str | Path,
    height: int,
    width: int,
    rate: Fraction,
    time_base: Fraction,
    quality: int = DEFAULT_QUALITY,
    sound: Sound | None = None,
    aspect: Fraction | None = None,
) -> Iterator[FrameWriter]:
    """A video file to be written frame by frame; it is whole, or where the block fails, not there at all.

    H.264 (x264), 4:2:0, BT.709 in limited range and tagged so.  4:2:0 needs even sides: an odd last row or column is
    written twice.

    Args:
        path: .mp4, .mkv, .mov or .m4v; one that is there is replaced at the end, in one step.
        height, width: pixels of the frames.
        rate: frames per second, as the file's header says it.
        time_base: unit of `FrameWriter.write`'s times, seconds.
        quality: x264's constant rate factor, 0 (no loss but for 4:2:0) to 51.
        sound: is copied beside the frames, and closed.
        aspect: width of a pixel by its height.
    Raises:
        ValueError: another quality.
        ImageError: PyAV or its encoder is missing, the sound does not fit the container, the disk is full, or the file
            cannot be written.
    """
    av, path = load_av(), Path(path)
    if not 0 <= quality <= WORST_QUALITY:
        raise ValueError(f"the quality of a video lies in 0..{WORST_QUALITY}, got {quality}")
    remove_abandoned([path])
    try:
        with replacing(path) as temporary, av.open(str(temporary), "w", options=_container_options(path)) as container:
            stream = _add_stream(av, container, height, width, rate, time_base, quality, aspect)
            if sound is not None:
                sound.stream = _add_sound(av, container, sound, path)
            container.start_encoding()
            yield FrameWriter(container, stream, sound)
    except (av.error.FFmpegError, OSError) as error:
        cure = "free some space" if error.errno in DISK_FULL else "choose another place or name"
        raise ImageError(f"cannot write {path}: {error.strerror or error}; {cure}") from error
    finally:
        if sound is not None:
            sound.close()


def _add_stream(
    av: ModuleType,
    container: Any,
    height: int,
    width: int,
    rate: Fraction,
    time_base: Fraction,
    quality: int,
    aspect: Fraction | None,
) -> Any:
    """The stream of frames of a container; arguments as of `write_video`."""
    try:
        # Without B-frames: with them the header of a file whose frames lie unevenly in time ends before its last frame.
        wanted = {"crf": str(quality), "preset": "veryfast", "bf": "0"}
        stream = container.add_stream("libx264", rate=rate, options=wanted)
    except av.codec.codec.UnknownCodecError:
        raise ImageError(
            "this PyAV has no H.264 encoder (libx264): pip install --upgrade av; or write a folder of frames"
        ) from None
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.time_base, context.framerate = time_base, rate
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    if aspect:
        context.sample_aspect_ratio = aspect
    return stream


def _add_sound(av: ModuleType, container: Any, sound: Sound, path: Path) -> Any:
    """The stream of sound of a container; ImageError where files of its kind cannot hold this sound."""
    try:
        stream = container.add_stream_from_template(sound.template)
        container.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        if not _is_refused(error):
            raise
        codec = sound.template.codec_context.name
        other = next((f"write {suffix}, or " for suffix in _HOLD_MOST if _holds(av, suffix, sound)), "")
        raise ImageError(
            f"{path.suffix} files cannot hold this sound ({codec}); {other}leave it out: --audio none"
        ) from error
    return stream


def _is_refused(error: Exception) -> bool:
    """Whether an error says that a format does not hold what is to be written."""
    return getattr(error, "errno", errno.EINVAL) == errno.EINVAL


def _holds(av: ModuleType, suffix: str, sound: Sound) -> bool:
    """Whether files of a suffix can hold a sound."""
    with av.open(io.BytesIO(), "w", format=_HOLD_MOST[suffix]) as container:
        try:
            container.add_stream_from_template(sound.template)
        except (av.error.FFmpegError, ValueError) as error:
            if not _is_refused(error):
                raise
            return False
    return True


def _container_options(path: Path) -> dict[str, str]:
    """The index of MP4 files comes first, so that players need not load the whole file."""
    return {} if path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}


def _as_yuv(av: ModuleType, pixels: np.ndarray, stream: Any) -> Any:
    """A frame of the stream's size; an odd last row or column is there twice."""
    pixels = as_rgb(pixels)
    below, beside = stream.height - pixels.shape[0], stream.width - pixels.shape[1]
    if below or beside:
        pixels = np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(
        format="yuv420p",
        src_color_range=FULL,
        dst_colorspace=BT709,
        dst_color_range=LIMITED,
        interpolation=EXACT,
    )
