"""Fusing a folder of scenes: one bad scene never stops the rest.

While the network works on some scenes, others are read, coloured and written.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.images.false_colors import check_palette, in_palette
from adasffuse.images.folders import PANELS
from adasffuse.images.image import Image
from adasffuse.images.levels import expanded, release_if_large
from adasffuse.images.metadata import KEPT, lost_place, read_metadata
from adasffuse.images.notices import (
    LOOKED_AT,
    InfraredLook,
    SceneSummary,
    few_of_each,
    folder_notices,
    infrared_notices,
    notices_of_files,
    pick_evenly,
    summarize_scene,
    window_notices,
)
from adasffuse.images.pairs import Scene, SceneFolder, read_scene
from adasffuse.images.panel import contact_sheet
from adasffuse.images.plane import check_order, modality_of
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.write import check_suffix, quantise, result_depth
from adasffuse.inference.fuser import Fuser, settings_of, source_name
from adasffuse.inference.journal import Journal, stamps
from adasffuse.inference.misalignment import are_scans, misaligned_pairs_notice, seen_misalignment
from adasffuse.inference.ranks import Ranks
from adasffuse.inference.results import (
    SaveError,
    alone_in,
    former_results,
    journal_of,
    note_result,
    outdated_notice,
    save_result,
    stale_results,
)
from adasffuse.inference.turns import Turns
from adasffuse.inference.work import Work, find_work
from adasffuse.messages import printable, told
from adasffuse.process import release_freed_memory
from adasffuse.registration.aligner import GRIDS, Aligner
from adasffuse.registration.camera import read_camera_pair
from adasffuse.registration.estimate import Glance
from adasffuse.tasks import Task

_PANEL_HEIGHT = 1080  # pixels, at most


@dataclass
class Done:
    """What is remembered of a fused scene, without its pixels."""

    scene: Scene
    path: Path  # of the result
    notices: list[tuple[Path, str]]  # file, and what a user should know of it


@dataclass
class FolderReport:
    """What became of a folder of scenes."""

    name: str
    save_dir: Path  # or the file, of a single result
    network: str  # precision and device of the network
    fused: list[Scene] = field(default_factory=list)
    skipped: list[Scene] = field(default_factory=list)  # finished by an earlier run
    files: dict[str, Path] = field(default_factory=dict)  # the result of each fused or skipped scene, by its stem
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
            self.failed.append((scene.stem, told(error)))

    @property
    def finished(self) -> list[Scene]:
        """All scenes that have a result now."""
        return sorted([*self.fused, *self.skipped], key=lambda scene: scene.stem)

    def summary(self) -> str:
        """Number of results, seconds for each and their folder in one line, then what failed, see `few_of_each`."""
        scene = "pair" if len(self.ranges) == 2 else "scene"
        pace = f", {self.seconds / len(self.fused):.2f} s per {scene} in {self.network}" if self.fused else ""
        skipped = f", {len(self.skipped)} finished before" if self.skipped else ""
        scenes = scene if len(self.fused) == 1 else f"{scene}s"
        counts = f"{len(self.fused)} {scenes} fused{pace}{skipped}, {len(self.failed)} failed"
        place = f" -> {self.save_dir}" if self.files else ""
        lines = [printable(f"{self.name}: {counts}{place}")]
        return "\n".join(lines + [printable(f"  failed: {line}") for line in few_of_each(self.failed)])


@checked
def fuse_folder(
    fuser: Fuser,
    folder: SceneFolder,
    save_dir: str | Path,
    *,
    ranges: Sequence[RangeSpec | None] | None = None,
    no_data: Sequence[float | None] | None = None,
    patterns: Sequence[str | None] | None = None,
    within: float | None = None,
    depth: str = "auto",
    stretch: bool = False,
    align: Aligner | None = None,
    palette: str = "none",
    ranks: Ranks | None = None,
) -> FolderReport:
    """Fuse all scenes of a folder to `save_dir/<stem>.png`, or .tif for floating point.

    Each result is there whole or not at all.  Nothing is printed but a progress bar, where standard error is a
    terminal.  May be called in any thread.

    Args:
        folder: one folder per source, in the task's order.
        patterns: per source, how its files are called, see `adasffuse.images.pairs.find_scenes`.
        within: largest difference in seconds of files that are paired by the times in their names, see there.
        ranges, no_data, depth, stretch, align, palette: as in `WantedResults`.
        ranks: as in `fuse_scenes`.
    Raises:
        ImageError: a source folder is missing or holds no image, no file has a partner, or a result would lie among
            the sources or overwrite one.
        SaveError: `save_dir` cannot be written, or its disk is full; what was written before stays.
        ValueError: an option has another number of entries than there are sources, or makes no sense.
    """
    wanted = WantedResults(ranges, no_data, depth, stretch, align=align, palette=palette)
    return fuse_scenes(fuser, find_work(folder, save_dir, patterns, within=within), wanted, ranks=ranks)


@checked
@dataclass(frozen=True)
class WantedResults:
    """How scenes are read, and what is written of each; None stands for one None per source."""

    ranges: Sequence[RangeSpec | None] | None = None  # per source what `ranges.parse_range` returns: one window for all
    no_data: Sequence[float | None] | None = None  # per source a value, in the files' units, that means "no data"
    depth: str = "auto"  # '8', '16', 'float' or 'auto': 8 bits unless all sources of a scene are deeper
    stretch: bool = False  # as in `Fuser.fuse`
    panels: bool = False  # also an image of the sources and the result side by side
    align: Aligner | None = None  # registers the two sources of each scene; their sizes may differ then
    metadata: str = "none"  # of the source that gives the colour: 'none', 'exif' or 'gps' (EXIF with the place)
    grid: str = "b"  # of files that are a pair by themselves: whose pixels both get, see `read_camera_pair`
    palette: str = "none"  # false colours of the first source, as in `Fuser.fuse`

    def resolved(self, task: Task, work: Work) -> "Reading":
        """How the files of all scenes are read.

        Raises:
            ValueError: an option has another number of entries than there are sources, or makes no sense.
        """
        result_depth(self.depth, ["8"])  # knows the words
        check_palette(self.palette, task)
        for name, value, known in (("metadata", self.metadata, KEPT), ("grid", self.grid, GRIDS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        none = (None,) * len(work.folder.folders)
        specs = none if self.ranges is None else self.ranges
        no_data = none if self.no_data is None else self.no_data
        thermal = task.thermal or (False,) * len(none)
        for name, values in (("ranges", specs), ("no_data", no_data), ("thermal sources of this task", thermal)):
            if len(values) != len(none):
                raise ValueError(f"{len(none)} source folders need as many {name}, got {len(values)}")
        columns = list(zip(*(scene.paths for scene in work.scenes))) or [()] * len(none)
        windows = tuple(resolve_range(*source) for source in zip(specs, columns, no_data, thermal))
        camera_grid = self.grid if work.camera else None
        return Reading(
            specs=tuple(specs),
            ranges=windows,
            no_data=tuple(no_data),
            thermal=tuple(thermal),
            align=self.align,
            camera_grid=camera_grid,
            palette=self.palette,
            kinds=task.kinds,
        )


@dataclass(frozen=True)
class Reading:
    """How the files of each source are read."""

    specs: tuple[RangeSpec | None, ...]  # ranges as they were asked for
    ranges: tuple[tuple[float, float] | None, ...]  # values read as black and white
    no_data: tuple[float | None, ...]
    thermal: tuple[bool, ...]
    align: Aligner | None = None
    camera_grid: str | None = None  # each file is a pair by itself; whose pixels both get
    palette: str = "none"  # false colours of the first source
    kinds: tuple[str, ...] = ()  # of the task's sources

    def read(self, scene: Scene) -> list[Image]:
        """The images of a scene, registered or in false colours where that is wanted, large ones as levels.

        Raises:
            ImageError: as `read_scene`, or AlignmentError.
        """
        placed = self.align is None
        if self.camera_grid is not None:
            options = "--range_a", "--range_b"  # as in `read_scene`
            images = read_camera_pair(scene.paths[0], self.ranges, self.no_data, self.camera_grid, placed, options)
            return images if placed else self.align.align(images)
        images = read_scene(scene, self.ranges, self.no_data, self.thermal, placed, levels=True)
        check_order(scene.paths, [modality_of(image) for image in images], self.kinds)
        images = images if placed else self.align.align(images)
        return [in_palette(images[0], self.palette, scene.paths[0]), *images[1:]]


@checked
def fuse_scenes(
    fuser: Fuser,
    work: Work,
    wanted: WantedResults | None = None,
    *,
    resume: bool | None = None,
    ranks: Ranks | None = None,
) -> FolderReport:
    """Fuse scenes; each result is there whole or not at all.

    Args:
        resume: True: scenes that an earlier run has finished, as its journal says, are skipped; False: all are fused
            and noted in a journal, see `adasffuse.inference.journal`; None: without a journal.
        ranks: processes that share the scenes; all get the report of all.
    Raises:
        SaveError: the folder of the results cannot be written, or its disk is full; what was written before stays.
        ValueError: an option has another number of entries than there are sources, or makes no sense.
    """
    wanted, ranks = wanted or WantedResults(), ranks or Ranks()
    reading = wanted.resolved(fuser.task, work)
    report = report_on(work, fuser)
    report.ranges, report.no_data = reading.ranges, reading.no_data
    started, done = time.perf_counter(), []
    with ExitStack() as stack:
        stack.enter_context(alone_in(work, ranks.rank))
        journal = None
        if resume is not None:
            journal = stack.enter_context(open_journal(fuser, work, wanted, reading, resume, ranks.rank))
        todo, outdated = unfinished(work, journal, wanted.panels, ranks, report)
        looked_at = set(pick_evenly(todo, LOOKED_AT))
        turns = stack.enter_context(Turns(fuser.device))
        pool = stack.enter_context(ThreadPoolExecutor(turns.places + 1))
        one_scene = _OneScene(fuser, work, wanted, reading, journal, turns, looked_at)
        jobs = [pool.submit(one_scene.fuse, scene) for scene in todo]
        try:
            hidden = None if ranks.main else True
            bar = tqdm(zip(todo, jobs), printable(work.folder.name), len(todo), unit="scene", disable=hidden)
            for scene, job in bar:
                with report.blaming(scene):
                    done.append(job.result())
                if report.failed:
                    bar.set_postfix(failed=len(report.failed))
        finally:  # an interrupt waits only for the scenes that were begun
            pool.shutdown(cancel_futures=True)
    release_freed_memory()  # of large images it is much, and whoever fuses may score now
    report.seconds = time.perf_counter() - started
    done = joined(report, done, ranks)
    report.notices = window_notices(work.sources, reading.specs, report.ranges)
    report.notices += _notices(fuser, work.folder, done, wanted.align)
    conclude(report, work, sum(ranks.gather(outdated)), wanted.panels)
    return report


def report_on(work: Work, fuser: Fuser) -> FolderReport:
    """The report of a folder of which nothing is fused yet."""
    return FolderReport(work.folder.name, work.file or work.save_dir, f"{fuser.precision} on {fuser.device}")


def unfinished(
    work: Work, journal: Journal | None, panels: bool, ranks: Ranks, report: FolderReport
) -> tuple[list[Scene], int]:
    """This process's scenes without those that the journal calls finished, which go to the report.

    Returns:
        The scenes, and how many of them an earlier run has finished with other settings.
    """
    todo, outdated = [], 0
    for scene in ranks.share(work.scenes):
        finished = journal.finished(scene, [work.panel(scene)] if panels else []) if journal else None
        if finished:
            report.skipped.append(scene)
            report.files[scene.stem] = work.save_dir / finished.name
        else:
            todo.append(scene)
            if journal is not None and journal.outdated(scene):
                outdated += 1
    return todo, outdated


def conclude(report: FolderReport, work: Work, outdated: int, panels: bool) -> None:
    """Add to a report what belongs to no scene, and what lies in the folder of the results from earlier runs.

    Args:
        outdated: number of results that an earlier run had finished with other settings.
    """
    report.failed[:0] = [(problem.name, problem.reason) for problem in work.problems if not problem.harmless]
    report.notices[:0] = [problem.reason for problem in work.problems if problem.harmless]
    report.notices += outdated_notice(outdated)
    report.notices += stale_results(work, [name for name, _ in report.failed])
    if work.file is None:
        report.notices += former_results(report.files.values())
        if not panels and any(work.panel(scene).exists() for scene in report.fused):
            report.notices.append(f"{work.save_dir / PANELS}: shows results of an earlier run; --panel makes it anew")


def panel_of(images: Sequence[Image], fused: np.ndarray, task: Task) -> np.ndarray:
    """Sources and result side by side, each below its name, (H, W, 3) uint8; arguments as of `panel_row`."""
    return contact_sheet([panel_row(images, fused, task)], min(fused.shape[0], _PANEL_HEIGHT))


def panel_row(images: Sequence[Image], fused: np.ndarray, task: Task) -> list[tuple[str, np.ndarray]]:
    """Caption and pixels of the sources and of the result, as `contact_sheet` takes them.

    Args:
        fused: uint8, uint16 or float32 in [0, 1], (H, W) or (H, W, 3).
    """
    top = np.iinfo(fused.dtype).max if fused.dtype.kind == "u" else 1
    kinds = task.kinds_of(len(images))
    row = [(f"{source_name(k)}: {kinds[k]}", quantise(expanded(image.pixels), "8")) for k, image in enumerate(images)]
    return [*row, ("fused", quantise(fused / np.float32(top), "8"))]


def joined(report: FolderReport, done: list[Done], ranks: Ranks) -> list[Done]:
    """What all processes have fused, in the order of the stems; the rest of their reports is joined in this one's."""
    report.files |= {one.scene.stem: one.path for one in done}
    parts = ranks.gather((report.skipped, report.failed, report.files, report.seconds, done))
    skipped, failed, files, seconds, fused = zip(*parts)
    report.skipped = sorted(itertools.chain(*skipped), key=lambda scene: scene.stem)
    report.failed = sorted(itertools.chain(*failed))
    report.files = {stem: path for one in files for stem, path in one.items()}
    report.seconds = max(seconds)
    done = sorted(itertools.chain(*fused), key=lambda one: one.scene.stem)
    report.fused = [one.scene for one in done]
    return done


def open_journal(
    fuser: Fuser, work: Work, wanted: WantedResults, reading: Reading, resume: bool, rank: int = 0
) -> Journal:
    """The journal of a folder of results; raises SaveError where an earlier one cannot be read."""
    settings = settings_of(
        fuser,
        ranges=reading.ranges,
        no_data=reading.no_data,
        depth=wanted.depth,
        stretch=wanted.stretch,
        metadata=wanted.metadata,
        palette=wanted.palette,
        align=[
            None if wanted.align is None else wanted.align.settings(),
            *([] if reading.camera_grid is None else ["camera", reading.camera_grid]),
        ],
    )
    return journal_of(work.save_dir, settings, resume, rank)


@dataclass
class _Fused(Done):
    """What is remembered of fused images; `notices` are those of the fusion, those of the files are in `seen`."""

    seen: SceneSummary
    off: Glance | None  # how the sources seem not to lie on each other
    closely: bool  # whether that was looked at closely
    look: InfraredLook | None  # at its infrared image; None of most


@dataclass(frozen=True)
class _OneScene:
    """Reads, fuses and writes one scene at a time; threads share it."""

    fuser: Fuser
    work: Work
    wanted: WantedResults
    reading: Reading
    journal: Journal | None
    turns: Turns
    looked_at: set[Scene]  # those whose images are looked at closely

    def fuse(self, scene: Scene) -> _Fused:
        """Fuse a scene to the files of its result; raises what reading, fusing and writing raise."""
        task, wanted = self.fuser.task, self.wanted
        before = stamps(scene.paths)
        images = self.reading.read(scene)
        closely = scene in self.looked_at
        off = seen_misalignment(task, images, self.reading.align, closely)
        depth = result_depth(wanted.depth, [image.depth for image in images])
        written = self.work.written(scene, depth, wanted.panels)
        check_suffix(written[0], depth)
        look = self.fuser.look_at(scene.paths[0], images) if closely else None
        one = _Fused(scene, written[0], [], summarize_scene(scene, images), off, closely, look)
        shown = list(images) if wanted.panels else []
        giver = scene.paths[0 if task.color == "a" else -1]
        metadata = read_metadata(giver, wanted.metadata, images)
        fused, remarks, valid = _fuse_images(self.fuser, images, self.turns, wanted.stretch, depth)
        one.notices += [(scene.paths[k], text) for k, text in remarks]
        release_if_large(fused.shape)
        if metadata is not None:
            metadata = replace(metadata, valid=valid)
        save_result(written[0], fused, depth, metadata)
        if lost := lost_place(written[0], metadata):
            one.notices.append((giver, lost))
        if wanted.panels:
            save_result(written[1], panel_of(shown, fused, task), "8")
        if self.journal:
            note_result(self.journal, scene, before, written)
        return one


def _fuse_images(
    fuser: Fuser, images: list[Image], turns: Turns, stretch: bool, depth: str
) -> tuple[np.ndarray, tuple[tuple[int, str], ...], np.ndarray | None]:
    """The fused image, rounded to its depth, and what is to know of sources that add little or nothing to it.

    Third, (H, W) bool, False where no source holds data; None for data everywhere.

    The network is used in turn.  The list is emptied: images may be large.
    """
    height, width = images[0].pixels.shape[:2]
    prepared = fuser.prepare(*images)
    images.clear()
    with turns.one(height * width):
        luma = fuser.fuse_prepared(prepared)
    return fuser.finish(luma, prepared, stretch, depth), prepared.remarks, prepared.known


def _notices(fuser: Fuser, folder: SceneFolder, done: Sequence[_Fused], align: Aligner | None) -> list[str]:
    """What a user should know of fused images; what holds for many files is said once, with their number."""
    notices = folder_notices(fuser.task, folder.folders, [one.seen for one in done])
    notices += notices_of_files(notice for one in done for notice in one.notices)
    notices += infrared_notices([one.look for one in done], fuser.denoise)
    closely = sum(one.closely for one in done) if are_scans(fuser.task) else None
    return notices + misaligned_pairs_notice([(one.scene.stem, one.off) for one in done], align, closely)
