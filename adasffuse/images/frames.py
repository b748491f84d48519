"""Sequences of frames: what is common to all, and video files, read one frame at a time.

Video files need PyAV (the extra `video`), which brings FFmpeg's libraries along.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.false_colors import FindPalette, SteadyPalette, palette_of
from adasffuse.images.image import Image, ImageError
from adasffuse.images.pillow_formats import PRIMARIES
from adasffuse.images.read import IMAGE_SUFFIXES, Reading, interpret
from adasffuse.images.stored import Stored
from adasffuse.installation import install_command

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v")  # that are written; what is read is found out by its content
OTHER_VIDEO_SUFFIXES = (".avi", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".ogv", ".gif", ".3gp")
ONLY_VIDEO_SUFFIXES = frozenset({*VIDEO_SUFFIXES, *OTHER_VIDEO_SUFFIXES}) - IMAGE_SUFFIXES  # .gif may be an image
DEFAULT_RATE = Fraction(25)  # frames per second of folders

BT709, _UNSPECIFIED, _BT601 = 1, 2, 5  # matrix coefficients, ITU-T H.273
LIMITED, FULL = 1, 2  # ranges, as FFmpeg numbers them
_HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}  # transfer characteristics, H.273
_GRAY_FORMAT = re.compile(r"gray(9|10|12|14|16)(le|be)")  # FFmpeg's names: bits and order of bytes
# swscale: bilinear, chroma for every pixel, rounded; without, colours are a level too dark.
EXACT = 2 | 1 << 13 | 1 << 18


@dataclass(frozen=True)
class Frame:
    """One image of a sequence."""

    name: str  # stem of the image file, or the frame's number from 1, '000001'
    seconds: Fraction  # since the first frame
    pts: int  # time in units of the sequence's `time_base`: that of the file, less what was skipped at its beginning
    image: Image


class StartError(ImageError):
    """A sequence that ends before the time from which it is wanted."""


class FrameError(ImageError):
    """A sequence that ends early: a damaged frame, or fewer frames than its header says."""


class _Timed(NamedTuple):
    """A decoded frame of a video file."""

    number: int  # from 1
    pts: int  # units of `VideoFile.time_base`
    decoded: Any
    damaged: int  # number of the damaged frame that it is or depends on, the last key frame being older; 0 for none


class _Key(NamedTuple):
    """A key frame: what follows it can be decoded without what lies before."""

    number: int  # from 1
    pts: int


class VideoFile:
    """A video file; iterate to get its frames, as often as wanted.

    Of a file with several videos the first is read, with a notice.  Frames are turned and mirrored as the file says,
    and converted to RGB by its colour tags (without tags BT.709 from 720 lines on, BT.601 below; limited range).
    Neutral frames come as gray ones.  Gray pixel formats of more than 8 bits (FFV1 from thermal cameras) keep their
    depth; deeper colour is read at 8 bits, with a notice.

    Args:
        path: a regular file.
        value_range, no_data: as in `adasffuse.images.read.read_image`, for all frames.
        thermal: false colours of the palettes 'jet' and 'turbo' become gray in their order, with a notice; a few frames
            in which they are not recognised are read as the others, see `SteadyPalette`.
        start_at: seconds from the first frame; the frame nearest to it is the first one that is given, of two equally
            near ones the later.
        option: what gives `value_range`, such as '--range_a', for errors and notices that ask for one.
    Attributes:
        height, width: pixels, upright.
        depth: '16' of gray of more than 8 bits, else '8'.
        rate: frames per second, on average.
        time_base: unit of `Frame.pts`, seconds.
        start: time of the file's first frame, seconds.
        skipped: seconds that `start_at` came to.
        duration: seconds from the first frame given to the end of the last; None where the file does not say.
        audio: name of the codec of its sound, None for none.
        aspect: width of a pixel by its height, upright; None where the file does not say.
    Raises:
        ImageError: PyAV is missing, or this is no video file that it can decode.
        StartError: it ends before `start_at`.
        ValueError: `start_at` is negative or not finite.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        value_range: tuple[float, float] | None = None,
        no_data: float | None = None,
        thermal: bool = False,
        start_at: float = 0.0,
        option: str = "",
    ) -> None:
        self.path, self.value_range, self._start_at = Path(path), value_range, parse_start(start_at)
        self._reading = Reading(None, no_data, thermal, border=False, option=option, measurable=False)
        if not self.path.is_file():
            raise ImageError(f"no video file or folder of frames {path}")
        with self._opened() as container:
            stream = _video_streams(container)[0]
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
            self.time_base = Fraction(stream.time_base)
            self.duration = _duration(container, stream)
            self.audio = container.streams.audio[0].codec_context.name if container.streams.audio else None
            self._streams = len(_video_streams(container))
            self.transfer = _HIGH_DYNAMIC_RANGE.get(stream.codec_context.color_trc, "")
            self._primaries = PRIMARIES.get(stream.codec_context.color_primaries, "")
            aspect = stream.sample_aspect_ratio
            if self.duration is not None and self.duration <= start_at:
                raise start_error(self.path, self.duration, start_at)
            begin = next(self._timed(container), None)
            if begin is None:
                raise ImageError(f"{path}: holds no frame that can be decoded")
        self.start = begin.pts * self.time_base
        self._first_pts = begin.pts
        self._key = self._key_before_start() if start_at else None
        with self._opened() as container:
            _, used, first, _ = next(self._wanted(container))
        self.skipped = used * self.time_base - self.start
        if self.duration is not None:
            self.duration -= float(self.skipped)
        self.aspect = 1 / aspect if aspect and _display_matrix(first)[0] else aspect
        image = self._image(first)
        self.depth, (self.height, self.width) = image.depth, image.pixels.shape[:2]

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order.

        Raises:
            FrameError: a frame is damaged, or the file ends before its header says; those before it have been given.
        """
        number, end = 0, Fraction(0)
        palettes = SteadyPalette()
        with self._opened() as container:
            for timed in self._wanted(container):
                frame = self._frame(timed, palettes)
                number, end = timed.number, frame.seconds + self._shown(timed.decoded)
                yield frame
        if self.duration is not None and end + 3 / (2 * self.rate) < self.duration:
            before = float(self.skipped)
            raise FrameError(
                f"{self.path}: ends after frame {number}, at {float(end) + before:.2f} s of the "
                f"{self.duration + before:.2f} s that its header promises; it is damaged or was cut off"
            )

    def frames_near(self, times: Iterable[Fraction]) -> Iterator[Frame]:
        """For each time the nearest frame, of two equally near ones the later, until the sequence ends.

        MP4 and Matroska files are decoded from the last key frame before a time on, others from their beginning.

        Args:
            times: seconds since the first frame that is given, ascending; they are taken one by one.
        Raises:
            FrameError: a frame that has to be decoded is damaged; those before it have been given.
        """
        keys, palettes = self._keys(), SteadyPalette()
        timed = self._decoded_anew()
        try:
            current, after = next(timed), next(timed, None)
            for seconds in times:
                wanted = (seconds + self.start + self.skipped) / self.time_base
                before = bisect_right(keys, wanted, key=lambda key: key.pts)
                if before and after is not None and keys[before - 1].pts > after.pts:
                    further = self._decoded_anew(keys[before - 1])
                    first = next(further, None)
                    if first is None:
                        keys = []
                    else:
                        timed.close()
                        timed, current, after = further, first, next(further, None)
                while after is not None and abs(after.pts - wanted) <= abs(current.pts - wanted):
                    current, after = after, next(timed, None)
                if after is None and wanted >= current.pts + 1 / (self.rate * self.time_base):
                    return
                yield self._frame(current, palettes)
        finally:
            timed.close()

    def _frame(self, timed: _Timed, palettes: SteadyPalette) -> Frame:
        """A decoded frame as it is given; FrameError where it has another size than the first."""
        image = self._image(timed.decoded, palettes)
        height, width = image.pixels.shape[:2]
        if (height, width) != (self.height, self.width):
            raise FrameError(
                f"{self.path}: frame {timed.number} has {width}x{height} pixels, "
                f"those before it {self.width}x{self.height}"
            )
        skipped = int(self.skipped / self.time_base)  # a whole number of time units
        seconds = timed.pts * self.time_base - self.start - self.skipped
        return Frame(f"{timed.number:06d}", seconds, timed.pts - skipped, image)

    def _timed(self, container: Any, key: _Key | None = None) -> Iterator[_Timed]:
        """All frames, damaged ones too; from a key frame on where one is given.

        AVI states no time of a frame, only its place in the file, in the order of decoding: FFmpeg's guess of `pts` is
        wrong for H.264 with frames that depend on later ones, `dts` counts the places in order.
        """
        first, last, damaged = None, None, 0
        is_avi, ahead = container.format.name == "avi", 0
        for number, decoded in enumerate(self._decoded(container, key), 1 if key is None else key.number):
            pts = decoded.pts
            if is_avi:
                if first is None and None not in (pts, decoded.dts):
                    ahead = decoded.dts - pts
                pts = None if decoded.dts is None else decoded.dts - ahead
            if pts is None:
                pts = round(((first or 0) * self.time_base + (number - 1) / self.rate) / self.time_base)
            first = pts if first is None else first
            last = pts if last is None else max(pts, last + 1)  # broken files repeat times, encoders refuse to
            if decoded.is_corrupt:
                damaged = number
            elif decoded.key_frame:
                damaged = 0
            yield _Timed(number, last, decoded, damaged)

    def _decoded_anew(self, key: _Key | None = None) -> Iterator[_Timed]:
        """The frames that are wanted, or those from a key frame on, in a container of its own.

        None where the file cannot be read from that key frame, exact to the frame.
        """
        with self._opened() as container:
            if key is None:
                yield from self._wanted(container)
                return
            timed = self._timed(container, key)
            try:
                first = next(timed, None)
            except FrameError:
                return
            if first is not None and first.pts == key.pts and first.decoded.key_frame and not first.damaged:
                yield first
                yield from self._whole(timed)

    def _key_before_start(self) -> _Key | None:
        """The last key frame before `start_at` if the file can be read from there, exact to the frame; else None."""
        keys = self._keys(self._first_pts + self._start_at / self.time_base)
        if not keys or keys[-1].number == 1:
            return None
        timed = self._decoded_anew(keys[-1])
        is_there = next(timed, None) is not None
        timed.close()
        return keys[-1] if is_there else None

    def _keys(self, until: Fraction | float = math.inf) -> list[_Key]:
        """The key frames in order, up to a pts; [] where the container's times do not tell all frames apart."""
        av, first = load_av(), self._first_pts
        times, keys = [], set()
        with self._opened() as container:
            if not {"mp4", "matroska"} & set(container.format.name.split(",")):
                return []
            try:
                for packet in container.demux(_video_streams(container)[0]):
                    if not packet.size or (packet.pts is not None and packet.pts < first):
                        continue
                    if packet.pts is None:
                        return []
                    if packet.is_keyframe and packet.pts > until:
                        break  # frames before the one that is sought are packed before this one
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.add(packet.pts)
            except av.error.FFmpegError:
                return []
        times.sort()
        if first not in times or len(set(times)) < len(times):
            return []
        return [_Key(1 + bisect_left(times, pts), pts) for pts in sorted(keys)]

    def _wanted(self, container: Any) -> Iterator[_Timed]:
        """The frames from the one nearest to `start_at` on, which have to be whole."""
        timed = self._timed(container, self._key)
        return self._whole(self._from_start(timed) if self._start_at else timed)

    def _whole(self, timed: Iterator[_Timed]) -> Iterator[_Timed]:
        """Frames up to the first damaged one; FrameError there."""
        for frame in timed:
            if frame.damaged:
                needs = "" if frame.number == frame.damaged else f", and frame {frame.number} depends on it"
                raise FrameError(f"{self.path}: frame {frame.damaged} is damaged{needs}")
            yield frame

    def _from_start(self, timed: Iterator[_Timed]) -> Iterator[_Timed]:
        """The frames from the one nearest to `start_at` on; StartError where the file ends before."""
        before = None  # seconds by which the last frame is too early, and that frame
        for frame in timed:
            late = frame.pts * self.time_base - self.start - self._start_at
            if late >= 0:
                if before is not None and before[0] < late:
                    yield before[1]
                yield frame
                yield from timed
                return
            before = -late, frame
        early, last = before
        shown = self._shown(last.decoded)
        if shown <= early:
            raise start_error(self.path, float(self._start_at - early + shown), self._start_at)
        yield last

    def _shown(self, decoded: Any) -> Fraction:
        """Seconds for which a frame is shown."""
        return decoded.duration * self.time_base or 1 / self.rate

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The container, closed afterwards; ImageError where it holds no video that can be read."""
        av = load_av()
        try:
            container = av.open(str(self.path.absolute()), options={"protocol_whitelist": "file"})
        except av.error.FFmpegError as error:
            cure = "give a video or a folder of frames"
            with suppress(OSError), self.path.open("rb") as file:
                if file.read(8)[4:] == b"ftyp":
                    cure = "its index is missing, as of a recording that was cut off: repair it, as untrunc does"
            raise ImageError(f"{self.path}: is no video file that can be read ({error.strerror}); {cure}") from error
        with container:
            if re.search(r"_pipe$|^image2|^tty$|^concat$", container.format.name):
                raise ImageError(f"{self.path}: is no video; give a video file or a folder of frames")
            if not _video_streams(container):
                raise ImageError(f"{self.path}: holds no video{_kinds(container)}")
            stream = _video_streams(container)[0]
            if stream.codec_context is None:
                raise ImageError(
                    f"{self.path}: FFmpeg has no decoder for its video; raw gray video of 16 bits becomes FFV1 by "
                    f"{_raw_to_ffv1(self.path)}; other video: convert it by the program that made it"
                )
            if stream.codec_context.name == "rawvideo" and "555" in (stream.codec_context.pix_fmt or ""):
                raise ImageError(
                    f"{self.path}: its header says raw RGB of 5 bits, as FFmpeg writes for raw gray video of 16 bits, "
                    f"which becomes FFV1 by {_raw_to_ffv1(self.path)}; convert true RGB of 5 bits to H.264"
                )
            stream.thread_type = "AUTO"
            try:
                yield container
            finally:
                # Waits for the threads that decode ahead.  The decoder is freed with Python's lock held, for which they
                # wait in turn where something, such as torchvision before 0.26, makes PyAV log.
                stream.codec_context.flush_buffers()

    def _decoded(self, container: Any, key: _Key | None = None) -> Iterator[Any]:
        """PyAV's frames, from a key frame on where one is given; FrameError where one cannot be decoded."""
        av, number = load_av(), 0 if key is None else key.number - 1
        stream = _video_streams(container)[0]
        try:
            if key is not None:
                container.seek(key.pts, stream=stream)
            for decoded in container.decode(stream):
                if key is not None and decoded.pts is not None and decoded.pts < key.pts:
                    continue
                number += 1
                yield decoded
        except av.error.FFmpegError as error:
            cure = "the file is damaged"
            if number == 0:
                cure = (
                    f"of a stream that was cut, ffmpeg -i {self.path.name} -c copy NEW.mkv writes what can be decoded"
                )
            raise FrameError(f"{self.path}: frame {number + 1} cannot be decoded ({error.strerror}); {cure}") from error

    def _image(self, decoded: Any, find_palette: FindPalette = palette_of) -> Image:
        """A decoded frame as image."""
        notices = []
        if self._streams > 1:
            notices.append(
                f"holds {self._streams} videos, of which the first is used; "
                f"ffmpeg -i {self.path.name} -map 0:V:1 -c copy NEW.mkv makes a file of the second"
            )
        gray = _GRAY_FORMAT.fullmatch(decoded.format.name)
        if decoded.format.name.startswith("gray") and decoded.color_range == LIMITED:
            notices.append(
                "its gray is tagged as limited range (16..235 of 255), which older FFmpeg writes for any gray, and is "
                "read as full range; if it looks pale, stretch it by ffmpeg's filter lutyuv"
            )
        if gray:
            values, space, span, depth = _as_gray(decoded, gray[2]), "gray", (0, 2 ** int(gray[1]) - 1), "16"
        else:
            values, space, span, depth = _as_rgb(decoded), "rgb", (0, 255), "8"
            if max(component.bits for component in decoded.format.components) > 8:
                notices.append("has more than 8 bits per channel, of which 8 are used")
            if self.transfer:
                notices.append(f"is HDR video ({self.transfer}), which looks pale: it is not tone-mapped; make it SDR")
            elif self._primaries:
                notices.append(f"its colours are {self._primaries}, read as BT.709: they look pale; convert them")
            if decoded.interlaced_frame:
                notices.append("is interlaced: moving edges are combs; deinterlace it first")
        on_its_side, mirrored_x, mirrored_y = _display_matrix(decoded)
        if on_its_side:
            values = values.swapaxes(0, 1)
        if mirrored_y:
            values = values[::-1]
        if mirrored_x:
            values = values[:, ::-1]
        stored = Stored(np.ascontiguousarray(values), space, tuple(notices), span)
        reading = replace(self._reading, value_range=self.value_range, find_palette=find_palette)
        return interpret(stored, depth, str(self.path), reading)


def parse_start(start_at: float) -> Fraction:
    """Seconds at which a sequence is to begin; ValueError where they are negative or not finite."""
    if not 0 <= start_at < math.inf:
        raise ValueError(f"start_at is a number of seconds from 0 on, got {start_at}")
    return Fraction(start_at)


def start_error(path: Path, seconds: float, start_at: float) -> StartError:
    """The error for a sequence that lasts `seconds` and is to begin at `start_at` seconds or later."""
    return StartError(f"{path} lasts {seconds:.2f} s, and nothing is left from {float(start_at):g} s on; skip less")


def load_av() -> ModuleType:
    """PyAV.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise ImageError(
            f"video files need PyAV: {install_command('video')}; folders of frames work without it"
        ) from None
    return av


def is_video_name(path: str | Path) -> bool:
    """Whether an output of this name is a video file; any other name is a folder of frames."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _display_matrix(decoded: Any) -> tuple[bool, bool, bool]:
    """How a frame is to be shown: rows and columns exchanged, then x mirrored, then y, by the file's display matrix."""
    try:
        data = decoded.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 does not know all that FFmpeg 8 puts beside a frame, such as EXIF data
        turned = round(decoded.rotation) % 360  # counterclockwise; a mirror is not told
        return turned in (90, 270), turned in (180, 270), turned in (90, 180)
    if data is None:
        return False, False, False
    x_by_x, y_by_x, _, x_by_y, y_by_y = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(x_by_y) + abs(y_by_x) > abs(x_by_x) + abs(y_by_y):
        return True, x_by_y < 0, y_by_x < 0
    return False, x_by_x < 0, y_by_y < 0


def _as_gray(decoded: Any, order: str) -> np.ndarray:
    """(H, W) uint16 of a decoded gray frame of 9 to 16 bits; order: 'le' or 'be', its bytes."""
    plane = decoded.planes[0]
    rows = np.frombuffer(plane, "<u2" if order == "le" else ">u2").reshape(-1, plane.line_size // 2)
    return rows[: decoded.height, : decoded.width].astype(np.uint16)


def _as_rgb(decoded: Any) -> np.ndarray:
    """(H, W, 3) uint8 of a decoded frame of any colour format."""
    if decoded.format.is_rgb or decoded.format.name == "gray":
        return decoded.to_ndarray(format="rgb24")
    space, extent = decoded.colorspace, decoded.color_range
    if space == _UNSPECIFIED:
        space = BT709 if decoded.height >= 720 else _BT601
    if decoded.format.name.startswith("yuvj"):
        extent = FULL
    elif extent not in (LIMITED, FULL):
        extent = LIMITED
    rgb = decoded.reformat(
        format="rgb24", src_colorspace=space, src_color_range=extent, dst_color_range=FULL, interpolation=EXACT
    )
    return rgb.to_ndarray()


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds of video as the header says them; None for formats without such a header, where they are an estimate."""
    if not {"mp4", "matroska", "avi"} & set(container.format.name.split(",")):
        return None
    if stream.duration:
        length = stream.duration
        if container.format.name == "avi":  # of a file that was cut off, only the number of frames is its header's
            length = max(length, stream.frames)  # the unit of time is a frame
        return float(length * stream.time_base)
    written = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # Matroska
    if written:
        start = float((stream.start_time or 0) * stream.time_base)
        return int(written[1]) * 3600 + int(written[2]) * 60 + float(written[3]) - start
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _raw_to_ffv1(path: Path) -> str:
    """FFmpeg's commands that make a readable file of raw gray video of 16 bits."""
    return (
        f"ffmpeg -i {path.name} -c copy -f rawvideo NEW.raw; ffmpeg -f rawvideo -pixel_format gray16le "
        "-video_size WIDTHxHEIGHT -framerate RATE -i NEW.raw -c:v ffv1 NEW.mkv"
    )


def _video_streams(container: Any) -> list[Any]:
    """The video streams of a file, without the cover image that files of music hold."""
    cover = load_av().stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _kinds(container: Any) -> str:
    """What a file holds instead of video, for an error."""
    kinds = sorted({stream.type for stream in container.streams} - {"video"})
    return f", only {', '.join(kinds)}" if kinds else " and no sound"
