"""Fusing the pairs of volumes of two folders: one bad pair never stops the rest."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.images.false_colors import check_palette
from adasffuse.images.image import ImageError
from adasffuse.images.notices import notices_of_files, window_notices
from adasffuse.images.pairs import Scene
from adasffuse.images.ranges import RangeSpec, measure_range
from adasffuse.images.volumes import read_volume
from adasffuse.inference.folder import Done, FolderReport, conclude, joined, report_on, unfinished
from adasffuse.inference.fuser import Fuser, settings_of
from adasffuse.inference.journal import Journal, stamps
from adasffuse.inference.ranks import Ranks
from adasffuse.inference.results import alone_in, journal_of, note_result, saving
from adasffuse.inference.volume import WantedVolumes, fuse_planned, plan_volumes
from adasffuse.inference.work import Work
from adasffuse.messages import printable


@checked
def fuse_volume_pairs(
    fuser: Fuser,
    work: Work,
    wanted: WantedVolumes | None = None,
    *,
    resume: bool | None = None,
    ranks: Ranks | None = None,
) -> FolderReport:
    """Fuse pairs of volumes, each as `fuse_volumes` does; each result is there whole or not at all.

    Args:
        work: as `find_work` returns it for volumes, or `work_of_volumes`.
        wanted: a measured range, 'folder' or percentages, is one for all volumes of a source.
        resume, ranks: as in `fuse_scenes`.
    Raises:
        SaveError: the folder of the results cannot be written, or its disk is full; what was written before stays.
        ValueError: a palette where the first source does not give the colour.
    """
    wanted, ranks = wanted or WantedVolumes(), ranks or Ranks()
    check_palette(wanted.palette, fuser.task)
    reading, windows = common_ranges(work, wanted)
    report = report_on(work, fuser)
    report.ranges = windows
    started, done = time.perf_counter(), []
    with ExitStack() as stack:
        stack.enter_context(alone_in(work, ranks.rank))
        journal = None
        if resume is not None:
            journal = stack.enter_context(open_volume_journal(fuser, work, reading, resume, ranks.rank))
        todo, outdated = unfinished(work, journal, wanted.panels, ranks, report)
        for number, scene in enumerate(todo):
            title = printable(scene.stem) if len(todo) == 1 else f"{printable(scene.stem)}, {number + 1} of {len(todo)}"
            hidden = None if ranks.main else True
            progress = partial(tqdm, desc=title, unit="slice", leave=len(todo) == 1, disable=hidden)
            with report.blaming(scene):
                before = stamps(scene.paths)
                written = work.written(scene, wanted.stored_depth, wanted.panels)
                done.append(_fuse(fuser, scene, reading, written, progress))
                if journal:
                    note_result(journal, scene, before, written)
    report.seconds = time.perf_counter() - started
    done = joined(report, done, ranks)
    report.notices = window_notices(work.sources, wanted.specs, windows)
    report.notices += notices_of_files(notice for one in done for notice in one.notices)
    conclude(report, work, sum(ranks.gather(outdated)), wanted.panels)
    return report


def common_ranges(work: Work, wanted: WantedVolumes) -> tuple[WantedVolumes, tuple[tuple[float, float] | None, ...]]:
    """How the volumes of folders are read, with numbers for ranges that all volumes of a source decide on.

    Returns:
        The same with fixed ranges, and per source the values of black and white; None: each volume has its own.
    """
    specs = wanted.specs
    if work.file is None:
        columns = list(zip(*(scene.paths for scene in work.scenes))) or [()] * len(specs)
        specs = [_numbers(spec, column) for spec, column in zip(specs, columns)]
    return replace(wanted, ranges=specs), tuple(map(_window, specs))


def open_volume_journal(fuser: Fuser, work: Work, reading: WantedVolumes, resume: bool, rank: int = 0) -> Journal:
    """The journal of a folder of fused volumes; raises SaveError where an earlier one cannot be read."""
    settings = settings_of(
        fuser,
        ranges=[None if spec is None else astuple(spec) for spec in reading.specs],
        depth=reading.stored_depth,
        axis=reading.axis,
        resample=reading.resample,
        palette=reading.palette,
    )
    return journal_of(work.save_dir, settings, resume, rank)


def _fuse(fuser: Fuser, scene: Scene, wanted: WantedVolumes, written: Sequence[Path], progress: partial) -> Done:
    """Fuse one pair to the files of its result, and remember nothing of its voxels."""
    plan = plan_volumes(fuser, scene.paths, written[0], wanted)
    with saving(written[0]):
        fuse_planned(fuser, plan, written[0], written[1] if wanted.panels else None, progress)
    return Done(scene, written[0], [(Path(path), text) for path, text in plan.notices])


def _numbers(spec: RangeSpec | None, paths: Sequence[Path]) -> RangeSpec | None:
    """A range in numbers, of one that is measured in all volumes of a source together."""
    if spec is None or spec.kind == "fixed":
        return spec
    window = measure_range(spec, lambda: _values_of(paths))
    return spec if window is None else RangeSpec("fixed", *window, spec.inverted)


def _window(spec: RangeSpec | None) -> tuple[float, float] | None:
    """Values of black and white of a range in numbers, None for another."""
    if spec is None or spec.kind != "fixed":
        return None
    return (spec.high, spec.low) if spec.inverted else (spec.low, spec.high)


def _values_of(paths: Iterable[Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values and mask of the volumes that can be read, one after the other."""
    for path in paths:
        try:
            values = read_volume(path).values
        except ImageError:
            continue  # it is told when the pair is fused
        yield values, np.isfinite(values)
