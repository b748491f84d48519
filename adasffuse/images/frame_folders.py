"""Sequences of frames in folders of images, read one frame at a time."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.false_colors import FindPalette, SteadyPalette, palette_of
from adasffuse.images.folders import in_order
from adasffuse.images.formats import is_radiometric, open_image
from adasffuse.images.frames import DEFAULT_RATE, Frame, FrameError, parse_start, start_error
from adasffuse.images.image import Image, ImageError
from adasffuse.images.missing import thermal_border_mask
from adasffuse.images.notices import pick_evenly
from adasffuse.images.pairs import SceneError, find_scenes
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.read import read_image, upright
from adasffuse.images.times import time_in

_LOOKED_AT = 16  # frames of a folder among which a border without data is looked for


class FrameFolder:
    """Image files in the order of their numbers; iterate to get them as frames, as often as wanted.

    Args:
        paths: the files, see `list_frames`.
        rate: frames per second: 25, 29.97, Fraction(30000, 1001).
        spec: black and white of files of more than 8 bits, as `adasffuse.images.ranges.parse_range` returns it: one
            window for all frames.
        no_data: a value that means "no data".
        thermal: pixels that are 0 in all of 16 frames spread over the sequence, in a large area joined to the border,
            hold no data; see `adasffuse.images.missing.thermal_border_mask`.  Of radiometric JPEGs the temperatures are
            read, and they need a `spec`; false colours are read as in `read_image`.
        range_frames: how many frames, from the first one given, `spec` measures; 0 all.
        start_at: as of `VideoFile`.
        option: what gives `spec`, such as '--range_a', for errors and notices that ask for one.
    Attributes:
        height, width, rate, time_base, start, skipped, duration, audio: as of `VideoFile`.
        value_range: what `spec` came to.
    Raises:
        ImageError: the first file cannot be read, or its own values decide what is black and white, as of temperatures
            and of DICOM without a window, and there is no `spec`.
        StartError: it ends before `start_at`.
        ValueError: the rate is no positive number, range_frames is negative, or `start_at` negative or not finite.
    """

    audio = None
    aspect = None
    start = Fraction(0)

    @checked
    def __init__(
        self,
        paths: Sequence[str | Path],
        rate: Fraction | float = DEFAULT_RATE,
        spec: RangeSpec | None = None,
        no_data: float | None = None,
        thermal: bool = False,
        range_frames: int = 0,
        start_at: float = 0.0,
        option: str = "",
    ) -> None:
        if not paths:
            raise ImageError("a folder of frames needs at least one file, got none")
        if not 0 < rate < math.inf:
            raise ValueError(f"the rate of frames is a positive number, got {rate}")
        if range_frames < 0:
            raise ValueError(f"range_frames is a number of frames, got {range_frames}")
        self.path, self.no_data = Path(paths[0]).parent, no_data
        self.rate = rate = Fraction(rate).limit_denominator(1001)
        self.time_base = 1 / rate
        start = parse_start(start_at)
        if start >= len(paths) / rate:
            raise start_error(self.path, float(len(paths) / rate), start_at)
        self._before = min(math.floor(start * rate + Fraction(1, 2)), len(paths) - 1)  # frames that are skipped
        self.paths, self.skipped = [Path(path) for path in paths[self._before :]], self._before / rate
        self.duration = float(len(self.paths) / rate)
        self._thermal, self._option = thermal, option
        self.value_range = resolve_range(spec, self.paths[: range_frames or None], no_data, thermal)
        first = self._read(self.paths[0])
        if spec is None and self._shown_by_its_own_range(self.paths[0]):
            kind = "temperatures" if is_radiometric(self.paths[0]) else "values without a fixed black and white"
            asked = option or "a value range for this source,"
            raise ImageError(
                f"{self.path}: its frames are {kind}, and without a range each would have another one; give {asked} "
                "LOW HIGH in its units, or 'folder'"
            )
        self.height, self.width = first.pixels.shape[:2]
        self.empty = self._border() if thermal and first.pixels.ndim == 2 else None

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order.

        Raises:
            FrameError: a file cannot be read or has another size; those before it have been given.
        """
        palettes = SteadyPalette()
        for number in range(len(self.paths)):
            yield self._frame(number, palettes)

    def frames_near(self, times: Iterable[Fraction]) -> Iterator[Frame]:
        """As `VideoFile.frames_near`; only the files of these frames are read."""
        palettes = SteadyPalette()
        for seconds in times:
            number = math.floor(seconds * self.rate + Fraction(1, 2))
            if seconds * self.rate >= len(self.paths):
                return
            yield self._frame(min(number, len(self.paths) - 1), palettes)

    def _frame(self, number: int, palettes: FindPalette) -> Frame:
        """The frame of a file; errors as of iterating."""
        path, called = self.paths[number], f"frame {self._before + number + 1} of {self.path}"
        try:
            image = self._read(path, palettes)
        except ImageError as error:
            raise FrameError(f"{called}: {error}") from error
        height, width = image.pixels.shape[:2]
        if (height, width) != (self.height, self.width):
            raise FrameError(
                f"{called}: {path.name} has {width}x{height} pixels, those before it {self.width}x{self.height}"
            )
        notices = tuple(f"{self.path}: {notice.removeprefix(f'{path}: ')}" for notice in image.notices)
        image = self._without_border(replace(image, notices=notices))
        return Frame(path.stem, number / self.rate, number, image)

    def _read(self, path: Path, find_palette: FindPalette = palette_of) -> Image:
        """The image of a file; its border is judged for all files at once."""
        given = (self.value_range, self.no_data, self._thermal)
        return read_image(path, *given, border=False, option=self._option, find_palette=find_palette)

    def _shown_by_its_own_range(self, path: Path) -> bool:
        """Whether a file's own values decide what is black and white in it."""
        with open_image(path, self._thermal) as file:
            return file.depth != "8" and bool(file.decode().span_notice)

    def _border(self) -> np.ndarray | None:
        """(H, W) bool, True in a border without data; None for no border."""
        largest = None
        for path in pick_evenly(self.paths, _LOOKED_AT):
            try:
                with open_image(path, thermal=True) as file:
                    values = upright(file.decode().values, file.orientation)
            except ImageError:
                continue  # it is reported when its turn comes
            values = values if values.ndim == 2 else values.max(axis=2)
            if values.shape == (self.height, self.width):
                largest = values if largest is None else np.maximum(largest, values)
        empty = None if largest is None else thermal_border_mask(largest)
        return empty if empty is not None and empty.any() else None

    def _without_border(self, image: Image) -> Image:
        """An image that holds no data in the border of all frames."""
        if self.empty is None:
            return image
        valid = ~self.empty if image.valid is None else image.valid & ~self.empty
        return replace(image, valid=valid, pixels=np.where(valid, image.pixels, 0))


@dataclass(frozen=True)
class FrameList:
    """The files of one or two folders that become frames."""

    columns: tuple[list[Path], ...]  # per folder
    names: list[str]  # what the sources' files have in common: the names of results
    left_out: int  # files without a partner before the first and after the last frame
    notices: list[str] = field(default_factory=list)


def list_frames(
    folders: Sequence[Path],
    patterns: Sequence[str | None],
    shortest: bool = False,
    gaps: bool = False,
    within: float | None = None,
) -> FrameList:
    """Frames of one folder, or of two whose files of equal names belong together, in the order of their numbers.

    Args:
        folders, patterns, within: as in `adasffuse.images.pairs.find_scenes`.
        shortest: frames without partner at either end are left out.
        gaps: numbers may be missing in the middle.
    Raises:
        ImageError: no frames, a frame without partner, or numbers that are missing: those that are there are not
            equally far apart.
    """
    scenes, problems = find_scenes(folders, patterns, within=within)
    order = in_order if within is None else _order_in_time
    scenes = sorted(scenes, key=lambda scene: order(scene.stem))
    duplicate = next((problem for problem in problems if problem.kind == "duplicate"), None)
    if duplicate:
        raise SceneError(duplicate.reason)
    if not scenes:
        raise SceneError(f"no frame of {folders[0]} has a partner in {folders[-1]}")
    names = [scene.stem for scene in scenes]
    alone = [problem for problem in problems if problem.kind == "unpaired"]
    first, last = order(names[0]), order(names[-1])
    for problem in alone:
        if first < order(problem.name) < last and not gaps:
            raise SceneError(f"{problem.reason}; --allow_gaps fuses the frames that both have")
        if not first < order(problem.name) < last and not shortest:
            raise SceneError(f"{problem.reason}: one sequence is shorter; --shortest fuses the frames that both have")
    if not gaps and within is None:  # times of a camera are not equally far apart
        _refuse_gaps(folders[-1], names)
    notices = [problem.reason for problem in problems if problem.harmless]
    return FrameList(tuple(list(column) for column in zip(*(s.paths for s in scenes))), names, len(alone), notices)


def _order_in_time(name: str) -> float:
    """Sort key of names by the times that they state; a name without time is the last."""
    time = time_in(name)
    return math.inf if time is None else time


def _refuse_gaps(folder: Path, names: Sequence[str]) -> None:
    """Raise SceneError unless the last numbers in the names are equally far apart."""
    found = [re.search(r"\d+(?=\D*$)", name) for name in names]
    if not all(found):
        return
    numbers = [int(match[0]) for match in found]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    usual = max(set(steps), key=steps.count, default=1)
    for before, after, step in zip(names, names[1:], steps):
        if step != usual:
            raise SceneError(
                f"{folder}: frames are missing between {before} and {after}; add them, or take them as neighbours with "
                "--allow_gaps"
            )
