"""Fusing two sequences of frames: read, fuse and write at the same time, in a thread each.

Each frame is fused on its own, at black and white levels that hold for the whole sequence.  Weight maps are not
smoothed over time: in a static scene sensor noise reaches the result through the sources' pixels, hardly through the
weights (`docs/video.md` has figures), and smoothed weights leave ghosts behind what moves.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.choices import AUDIO
from adasffuse.files import PARTIAL, ends_like_a_file, real_path, remove_abandoned
from adasffuse.images.frames import VIDEO_SUFFIXES, Frame, is_video_name
from adasffuse.images.image import Image, ImageError
from adasffuse.images.notices import LOOKED_AT
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.images.video_writing import DEFAULT_QUALITY, WORST_QUALITY, Sound, write_video
from adasffuse.images.write import result_depth, suffix_of, write_image
from adasffuse.inference.frame_notices import FrameNotices, every
from adasffuse.inference.frame_pairs import FramePairs, Frames, check_pair
from adasffuse.inference.fuser import Fuser, Prepared
from adasffuse.inference.results import alone_in_folder
from adasffuse.messages import counted, printable
from adasffuse.registration.aligner import Aligner

_WAITING = 3  # frames that wait between two threads
_LOOKED_AT_EACH = 30  # frames, of sequences of unknown length


@dataclass
class VideoReport:
    """What became of two sequences."""

    output: str
    network: str  # precision and device of the network
    width: int
    height: int
    rate: float  # frames per second of the result
    sound: str  # where it came from, '' for none
    frames: int = 0  # that were fused
    seconds: float = 0.0  # spent on reading, fusing and writing
    repeated: int = 0  # frames of A that serve several frames of B
    unused: int = 0  # frames of A that serve none
    apart: float = 0.0  # seconds, largest difference in time of two frames that were fused
    problem: str = ""  # why fewer frames were fused than there are; '' for none
    notices: list[str] = field(default_factory=list)

    @property
    def rate_of_work(self) -> float:
        """Frames per second, from reading to writing."""
        return self.frames / self.seconds if self.seconds else 0.0

    def summary(self) -> str:
        """A line, and another one where frames of A were repeated or not used."""
        lines = [
            f"{counted(self.frames, 'frame')} of {self.width}x{self.height} fused, {self.rate_of_work:.1f} frames/s in "
            f"{self.network} -> {printable(self.output)}"
        ]
        if self.repeated or self.unused:
            lines.append(
                f"  source A has other times: {self.repeated} of its frames serve several frames of B, {self.unused} "
                f"none; at most {1000 * self.apart:.0f} ms lie between frames fused"
            )
        return "\n".join(lines)


@checked
def fuse_video(
    fuser: Fuser,
    a: Frames,
    b: Frames,
    output: str | Path,
    *,
    depth: str = "auto",
    quality: int = DEFAULT_QUALITY,
    audio: str = "auto",
    shortest: bool = False,
    align: Aligner | None = None,
) -> VideoReport:
    """Fuse two sequences frame by frame; frame times, size and pixel aspect of the result are those of B.

    A video is there whole or not at all.  Of a folder each frame is, and an interrupt leaves those that are done.
    Where a sequence turns out to be damaged or shorter, what came before is fused and kept, and the report's `problem`
    says so.

    Args:
        output: a video file, .mp4, .mkv, .mov or .m4v; any other name is a folder of PNG frames (TIFF for 'float'),
            which must hold no images.
        depth: of frames in a folder, '8', '16', 'float' or 'auto': 8 bits unless both sources are deeper.
        quality: of a video, see `adasffuse.images.video_writing.write_video`.
        audio: whose sound is copied into a video, 'a', 'b', 'none' or 'auto': that of B, or else that of A.
        shortest: one sequence may be shorter than the other; what both have is fused.
        align: brings each pair of frames to one grid, that of B: `grid` is 'b'; needed where sizes differ.
    Raises:
        ImageError: the sequences do not fit together, have no frames in common, or the output cannot be written or
            would overwrite a source.
        SaveError: the folder cannot be written.
        ValueError: unknown audio, quality or depth, a depth that a video cannot have, or an alignment to A's pixels.
    """
    output = Path(output)
    check_grid(align)
    if audio not in AUDIO:
        raise ValueError(f"audio must be one of {', '.join(AUDIO)}, got {audio!r}")
    if not 0 <= quality <= WORST_QUALITY:
        raise ValueError(f"quality must lie in 0..{WORST_QUALITY}, got {quality}")
    check_pair(a, b, shortest, align is not None)
    check_output(a, b, output, depth)
    giver = sound_giver(a, b, audio) if is_video_name(output) else None
    pairs, total = FramePairs(a, b), _expected(a, b)
    step = _LOOKED_AT_EACH if total is None else max(1, -(-total // LOOKED_AT))
    notices = FrameNotices(fuser, align, every(step))
    where = f"{fuser.precision} on {fuser.device}"
    report = VideoReport(str(output), where, b.width, b.height, float(b.rate), str(giver.path) if giver else "")
    end, written = Fraction(0), set()
    started = time.perf_counter()
    with _writer(output, b, depth, quality, giver, a) as write, Stages() as stages:
        source = iter(pairs)

        def read() -> tuple[Frame, Prepared] | None:
            pair = next(source, None)
            if pair is None:
                return None
            return pair[1], prepare_frames(fuser, *(frame.image for frame in pair), align, notices)

        def finish(frame: Frame, prepared: Prepared, luma: np.ndarray) -> None:
            deep = "8" if is_video_name(output) else result_depth(depth, prepared.depths)
            write(frame, fuser.finish(luma, prepared, depth=deep), deep)
            written.add(deep)

        with tqdm(stages.read_ahead(read), printable(output.name), total, unit="frame", disable=None) as bar:
            for frame, prepared in bar:
                stages.write_behind(finish, frame, prepared, fuser.fuse_prepared(prepared))
                report.frames += 1
                end = frame.seconds
        stages.wait()
        if not report.frames:
            raise ImageError(pairs.damage or f"{a.path} and {b.path} have no frames in common")
        write.finish(float(b.start + end + 1 / b.rate))
    report.seconds = time.perf_counter() - started
    report.repeated, report.unused, report.apart = pairs.repeated, pairs.unused, pairs.apart
    report.problem = pairs.damage or ("" if shortest else pairs.shorter)
    report.notices = notices.texts(str(a.path), (b.height, b.width) if is_video_name(output) else None)
    if len(written) > 1:
        report.notices.append(
            f"{output}: holds frames of depth {' and '.join(sorted(written))}; --depth makes them equal"
        )
    return report


def sound_giver(a: Frames, b: Frames, audio: str) -> Frames | None:
    """The sequence whose sound is kept.

    Raises:
        ImageError: the one that was named has no sound.
        ValueError: unknown word.
    """
    if audio not in AUDIO:
        raise ValueError(f"audio must be one of {', '.join(AUDIO)}, got {audio!r}")
    if audio in ("a", "b"):
        named = a if audio == "a" else b
        if not named.audio:
            raise ImageError(f"{named.path} has no sound; --audio auto takes what there is")
        return named
    return next((one for one in (b, a) if one.audio), None) if audio == "auto" else None


def check_output(a: Frames, b: Frames, output: Path, depth: str = "auto") -> None:
    """Refuse an output that would overwrite a source or mix with other images, before any work.

    Raises:
        ImageError: it would.
        ValueError: a video of more than 8 bits.
    """
    result_depth(depth, ["8"])  # knows the words
    if is_video_name(output):
        if depth not in ("auto", "8"):
            raise ValueError(f"a video has 8 bits per channel; write a folder of frames for depth {depth}")
        if any(real_path(output) == real_path(one.path) for one in (a, b)):
            raise ImageError(f"the result {output} would overwrite a source; choose another name")
        return
    if ends_like_a_file(output) or output.is_file():
        raise ValueError(
            f"{output} is no folder, and no video that is written; videos end in {', '.join(VIDEO_SUFFIXES)}, other "
            "names are folders of frames"
        )
    old = [path.name for path in output.iterdir()] if output.is_dir() else []
    old = sorted(name for name in old if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."))
    if old:
        raise ImageError(
            f"{output} already holds {counted(len(old), 'image')}, such as {old[0]}; frames of two runs would mix: "
            "empty it, or "
            "choose another folder"
        )


def check_grid(align: Aligner | None) -> None:
    """Raise ValueError where frames would be brought to A's pixels: B leads."""
    if align is not None and align.grid != "b":
        raise ValueError(
            f"frames are brought to the pixels of source B, which leads: Aligner(grid='b'), got {align.grid!r}"
        )


def prepare_frames(
    fuser: Fuser, first: Image, second: Image, align: Aligner | None = None, notices: FrameNotices | None = None
) -> Prepared:
    """Two frames as the network takes them, brought to one grid where `align` is given."""
    if align is not None:
        first, second = align.align([first, second])
    prepared = fuser.prepare(first, second)
    if notices is not None:
        notices.add(prepared.notices, first, second)
    return prepared


class Stages:
    """Two threads: one prepares frames ahead of the network, one finishes and writes behind it."""

    def __init__(self) -> None:
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._behind: deque = deque()

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *error: object) -> None:  # after an error or an interrupt, what has not begun is dropped
        for pool in (self._reader, self._writer):
            pool.shutdown(cancel_futures=True)

    def read_ahead(self, read: Callable[[], tuple | None]) -> Iterator[tuple]:
        """What `read` returns until it returns None, called in the reader's thread a few frames ahead."""
        ahead = deque(self._reader.submit(read) for _ in range(_WAITING))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(self._reader.submit(read))
            yield item

    def write_behind(self, write: Callable[..., None], *arguments: object) -> None:
        """Call `write` in the writer's thread; waits where too many frames are waiting."""
        self._behind.append(self._writer.submit(write, *arguments))
        if len(self._behind) > _WAITING:
            self._behind.popleft().result()

    def wait(self) -> None:
        """Return when all is written."""
        while self._behind:
            self._behind.popleft().result()


class _FolderWriter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._abandoned = any(folder.glob(f"{PARTIAL}*"))  # there may be some, of a run that was killed

    def __call__(self, frame: Frame, pixels: np.ndarray, depth: str) -> None:
        path = self._folder / f"{frame.name}{suffix_of(depth)}"
        if self._abandoned:
            remove_abandoned([path])
        write_image(path, pixels, depth)

    def finish(self, end: float) -> None:
        pass


class _VideoWriter:
    def __init__(self, writer) -> None:
        self._writer = writer

    def __call__(self, frame: Frame, pixels: np.ndarray, depth: str) -> None:
        self._writer.write(pixels, frame.pts)

    def finish(self, end: float) -> None:
        self._writer.finish(end)


@contextmanager
def _writer(
    output: Path, b: Frames, depth: str, quality: int, giver: Frames | None, a: Frames
) -> Iterator[_FolderWriter | _VideoWriter]:
    """Where frames go, called with frame, pixels and depth."""
    if not is_video_name(output):
        with alone_in_folder(output):
            yield _FolderWriter(output)
        return
    sound = None
    if giver is not None:
        first = giver.start + giver.skipped  # of the frames that are used
        sound = Sound(giver.path, float(b.start - first), float(first) if giver.skipped else None)
    with write_video(output, b.height, b.width, b.rate, b.time_base, quality, sound, b.aspect) as writer:
        yield _VideoWriter(writer)


def _expected(a: Frames, b: Frames) -> int | None:
    """About how many frames there will be."""
    lengths = [one.duration for one in (a, b) if one.duration is not None]
    return round(min(lengths) * b.rate) if lengths else None
