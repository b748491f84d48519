"""Fusing a folder of scenes: one bad scene never stops the rest.

While the network works on some scenes, others are read, coloured and written.
"""

import errno
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from adasffuse.files import printable
from adasffuse.images.color import is_colorful
from adasffuse.images.image import Image, ImageError
from adasffuse.images.pairs import Scene, SceneFolder, SceneProblem, find_scenes, read_scene
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.write import DEPTHS, result_depth, suffix_of, write_image
from adasffuse.inference.fuser import Fuser
from adasffuse.tasks import Task

_LARGE = 1 << 20  # pixels from which on an image gets all threads: they share its work well, and memory is bounded
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what no later file will be spared


class SaveError(OSError):
    """The folder of the results cannot be written: nothing more can be saved there."""


@dataclass
class FolderReport:
    """What became of a folder of scenes."""

    name: str
    save_dir: Path
    network: str  # precision and device of the network
    fused: list[Scene] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)  # the result of each fused scene, by its stem
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    notices: list[str] = field(default_factory=list)
    ranges: tuple[tuple[float, float] | None, ...] = (None, None)  # values read as black and white, per source
    no_data: tuple[float | None, ...] = (None, None)  # values read as "no data", per source
    seconds: float = 0.0  # spent on reading, fusing and writing

    @contextmanager
    def blaming(self, scene: Scene) -> Iterator[None]:
        """Errors of this scene are noted and end nothing else, but for those that every scene would have."""
        try:
            yield
        except SaveError:
            raise
        except (ValueError, OSError, MemoryError, RuntimeError, cv2.error) as error:  # PyTorch: RuntimeError
            self.failed.append((scene.stem, str(error)))

    def summary(self) -> str:
        """Number of results, seconds for each and their folder in one line, then a line per failure."""
        scene = "pair" if len(self.ranges) == 2 else "scene"
        pace = f", {self.seconds / len(self.fused):.2f} s per {scene} in {self.network}" if self.fused else ""
        lines = [f"{self.name}: {len(self.fused)} {scene}s fused{pace}, {len(self.failed)} failed -> {self.save_dir}"]
        return "\n".join(lines + [printable(f"  failed: {name}: {reason}") for name, reason in self.failed])


def fuse_folder(
    fuser: Fuser,
    folder: SceneFolder,
    save_dir: str | Path,
    *,
    ranges: Sequence[RangeSpec | None] | None = None,
    no_data: Sequence[float | None] | None = None,
    patterns: Sequence[str | None] | None = None,
    depth: str = "auto",
    stretch: bool = False,
) -> FolderReport:
    """Fuse all scenes of a folder to `save_dir/<stem>.png`, or .tif for floating point.

    Each result is there whole or not at all.  Nothing is printed but a progress bar, where standard error is a
    terminal.  May be called in any thread.

    Args:
        folder: one folder per source, in the task's order.
        ranges: per source what `adasffuse.images.ranges.parse_range` returns; one window for the whole folder.
        no_data: per source a value, in the files' units, that means "no data".
        patterns: per source, how its files are called, see `adasffuse.images.pairs.find_scenes`.
        depth: of the results, '8', '16', 'float' or 'auto': 8 bits unless all sources of a scene are deeper.
        stretch: as in `Fuser.fuse`.
    Raises:
        ImageError: a source folder is missing or holds no image, no file has a partner, or a result would lie among
            the sources or overwrite one.
        SaveError: `save_dir` cannot be written, or its disk is full; what was written before stays.
        ValueError: an option has another number of entries than there are sources, or makes no sense.
    """
    save_dir = Path(save_dir)
    none = (None,) * len(folder.folders)
    specs, no_data, thermal = ranges or none, no_data or none, fuser.task.thermal or (False,) * len(none)
    for name, values in (("ranges", specs), ("no_data", no_data), ("thermal sources of this task", thermal)):
        if len(values) != len(none):
            raise ValueError(f"{len(none)} source folders need as many {name}, got {len(values)}")
    scenes, problems = find_scenes(folder.folders, patterns)
    _refuse_to_overwrite(save_dir, folder, scenes)
    _try_to_write(save_dir)
    report = FolderReport(folder.name, save_dir, f"{fuser.precision} on {fuser.device}", no_data=tuple(no_data))
    report.failed = [(problem.name, problem.reason) for problem in problems if not problem.harmless]
    columns = list(zip(*(scene.paths for scene in scenes))) or [()] * len(none)
    report.ranges = tuple(resolve_range(*source) for source in zip(specs, columns, no_data, thermal))
    started, done = time.perf_counter(), []
    with _Turns(fuser.device) as turns, ThreadPoolExecutor(turns.places + 1) as pool:

        def fuse(scene: Scene) -> _Fused:
            images = read_scene(scene, report.ranges, no_data, thermal)
            deep = result_depth(depth, [image.depth for image in images])
            fused = _fuse_images(fuser, images, turns, stretch, deep)
            target = save_dir / f"{scene.stem}{suffix_of(deep)}"
            _save(target, fused, deep)
            return _Fused(scene, target, images)

        jobs = [pool.submit(fuse, scene) for scene in scenes]
        try:
            bar = tqdm(zip(scenes, jobs), printable(folder.name), len(scenes), unit="scene", disable=None)
            for scene, job in bar:
                with report.blaming(scene):
                    done.append(job.result())
                if report.failed:
                    bar.set_postfix(failed=len(report.failed))
        finally:  # an interrupt waits only for the scenes that were begun
            pool.shutdown(cancel_futures=True)
    report.fused = [one.scene for one in done]
    report.files = {one.scene.stem: one.path for one in done}
    report.notices = _notices(fuser.task, folder, problems, done, specs, report.ranges)
    report.seconds = time.perf_counter() - started
    return report


class _Fused:
    """What is remembered of a fused scene, without its pixels."""

    def __init__(self, scene: Scene, path: Path, images: Sequence[Image]) -> None:
        self.scene, self.path = scene, path
        self.notices = [
            (source, notice.removeprefix(f"{source}: "))
            for source, image in zip(scene.paths, images)
            for notice in image.notices
        ]
        self.colorful = tuple(is_colorful(image.pixels) for image in images)
        self.all_equal = all(np.array_equal(images[0].pixels, image.pixels) for image in images[1:])


def _fuse_images(fuser: Fuser, images: Sequence[Image], turns: "_Turns", stretch: bool, depth: str) -> np.ndarray:
    """The fused image, rounded to its depth; the network is used in turn."""
    prepared = fuser.prepare(*images)
    height, width = images[0].pixels.shape[:2]
    with turns.one(height * width):
        luma = fuser.fuse_prepared(prepared)
    return fuser.finish(luma, prepared, stretch, depth)


def _save(path: Path, fused: np.ndarray, depth: str) -> None:
    """Write a result.

    Raises:
        SaveError: the disk is full, or cannot be written any more.
        ImageError: this file cannot be written.
    """
    try:
        write_image(path, fused, depth)
    except (ImageError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _DISK_FULL:
            raise SaveError(f"cannot write {path}: {cause.strerror}; results written before are whole") from error
        raise


def _refuse_to_overwrite(save_dir: Path, folder: SceneFolder, scenes: Sequence[Scene]) -> None:
    """Raise ImageError where results would lie in a source folder or take the place of a source."""
    place = save_dir.resolve()
    for source in folder.folders:
        if source.resolve() == place:
            raise ImageError(f"results would lie among the sources in {source}; choose another folder for them")
    sources = {path.resolve() for scene in scenes for path in scene.paths}
    for scene in scenes:
        for suffix in map(suffix_of, DEPTHS):
            if place / f"{scene.stem}{suffix}" in sources:
                raise ImageError(
                    f"the result {save_dir / (scene.stem + suffix)} would overwrite a source; "
                    "choose another folder for the results"
                )


def _try_to_write(save_dir: Path) -> None:
    """Make the folder of the results, and raise SaveError unless files can be made in it."""
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=save_dir):
            pass
    except OSError as error:
        raise SaveError(
            f"cannot write results to {save_dir}: {error.strerror or error}; choose a folder that is writable"
        ) from error


def _notices(
    task: Task,
    folder: SceneFolder,
    problems: Sequence[SceneProblem],
    done: Sequence[_Fused],
    specs: Sequence[RangeSpec | None],
    ranges: Sequence[tuple[float, float] | None],
) -> list[str]:
    """What a user should know of a folder; what holds for many files is said once, with their number."""
    notices = [problem.reason for problem in problems if problem.harmless]
    for source, spec, window in zip(folder.folders, specs, ranges):
        if window is not None and spec is not None and spec.kind != "fixed":
            notices.append(f"{source}: the values {window[0]:g} to {window[1]:g} become black to white")
    paths_of: dict[str, list[Path]] = defaultdict(list)
    for one in done:
        for path, text in one.notices:
            paths_of[text].append(path)
    for text, paths in paths_of.items():
        more = f" (and {len(paths) - 1} more files)" if len(paths) > 1 else ""
        notices.append(f"{paths[0]}: {text}{more}")
    if done and all(one.all_equal for one in done):
        notices.append("the sources of every scene are equal, pixel by pixel; were the same images given twice?")
    return notices + _colour_notices(task, folder, done)


def _colour_notices(task: Task, folder: SceneFolder, done: Sequence[_Fused]) -> list[str]:
    """Notices of colour where the task expects none: sources swapped, or a thermal source in false colours."""
    numbers = range(len(folder.folders))
    colored = [[one for one in done if one.colorful[number]] for number in numbers]
    giver = {"a": 0, "b": 1}.get(task.color)  # the source whose colours the result takes
    if giver is not None and done and not colored[giver]:
        full = [number for number in numbers if len(colored[number]) == len(done)]
        if full:
            gray, other = folder.folders[giver], folder.folders[full[0]]
            return [f"all images in {gray} are gray and all in {other} have colour: the folders may be swapped"]
    return [
        f"{len(some)} of {len(done)} images in {source} have colour, {some[0].scene.paths[number].name} for one: false "
        "colours are no temperature, only their luminance is used; export thermal images in gray"
        for number, (source, some) in enumerate(zip(folder.folders, colored))
        if some and task.thermal and task.thermal[number]
    ]


class _Turns:
    """Turns at the network: on a CPU with several threads two small images at once, each with half of the threads.

    Threads that work on one image wait for each other after every layer; on two cores, two images at once take a
    tenth less time.  Within the context PyTorch's number of threads is changed.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        self.places = 2 if device.type == "cpu" and self._threads > 1 else 1
        self._free, self._changed = self.places, threading.Condition()

    def __enter__(self) -> "_Turns":
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)

    @contextmanager
    def one(self, pixels: int) -> Iterator[None]:
        """The calling thread's turn, with the number of threads that it may use."""
        places = self.places if pixels >= _LARGE else 1
        with self._changed:
            self._changed.wait_for(lambda: self._free >= places)
            self._free -= places
        torch.set_num_threads(self._threads * places // self.places)  # of this thread and those that start later
        try:
            yield
        finally:
            with self._changed:
                self._free += places
                self._changed.notify_all()
