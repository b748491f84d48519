"""What fusing scenes would do and what would fail, found out without fusing and without writing anything."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adasffuse.arguments import checked
from adasffuse.images.image import Image
from adasffuse.images.notices import LOOKED_AT, black_hot_notice, folder_notices, seen_of, spread
from adasffuse.images.pairs import Scene
from adasffuse.images.write import check_suffix, result_depth
from adasffuse.inference.folder import FolderReport, WantedResults, open_journal
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.misalignment import misaligned_pairs_notice, seen_misalignment
from adasffuse.inference.results import former_results
from adasffuse.inference.work import Work


@dataclass(frozen=True)
class Planned:
    """A scene that would be fused."""

    scene: Scene
    result: Path
    size: tuple[int, int]  # pixels, (height, width)
    depths: tuple[str, ...]  # of the sources, '8', '16' or 'float'
    windows: tuple[tuple[float, float], ...]  # of each source the values read as black and white
    replaces: bool  # the result is there already


@dataclass
class Plan:
    """What would be done."""

    planned: list[Planned] = field(default_factory=list)
    skipped: list[Scene] = field(default_factory=list)  # finished by an earlier run
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    notices: list[str] = field(default_factory=list)


@checked
def plan_scenes(fuser: Fuser, work: Work, wanted: WantedResults, resume: bool = False) -> Plan:
    """Read the files of all scenes, one scene at a time, as `fuse_scenes` would, and say what would come of it.

    Memory and time that the network needs are not tried, nor whether the disk has room for the results.

    Raises:
        SaveError, ValueError: as `fuse_scenes`.
    """
    reading = wanted.resolved(fuser.task, work)
    plan = Plan()
    plan.failed = [(problem.name, problem.reason) for problem in work.problems if not problem.harmless]
    plan.notices = [problem.reason for problem in work.problems if problem.harmless]
    journal = open_journal(fuser, work, wanted, reading, resume) if resume else None
    report = FolderReport(work.folder.name, work.save_dir, "")  # catches what `fuse_scenes` would catch
    todo, seen, black_hot, off = [], [], [], []
    for scene in work.scenes:
        finished = journal and journal.finished(scene, wanted.beside(work, scene))
        (plan.skipped if finished else todo).append(scene)
    looked_at = set(spread(todo, LOOKED_AT))
    for scene in todo:
        with report.blaming(scene):
            images = reading.read(scene)
            seen.append(seen_of(scene, images))
            plan.planned.append(_planned(work, wanted, scene, images))
            if scene in looked_at:
                black_hot.append((scene.paths[0], fuser.looks_black_hot(images)))
            off.append((scene.stem, seen_misalignment(fuser.task, images, reading.align)))
    plan.failed += report.failed
    plan.notices += folder_notices(fuser.task, work.folder.folders, seen) + black_hot_notice(black_hot)
    plan.notices += misaligned_pairs_notice(off, reading.align)
    if work.file is None:
        plan.notices += former_results(one.result for one in plan.planned)
    plan.failed += unwritable(work.save_dir)
    return plan


def unwritable(save_dir: Path) -> list[tuple[str, str]]:
    """Where results cannot be written to a folder, its name and why."""
    place = next(folder for folder in (save_dir, *save_dir.absolute().parents) if folder.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return []
    return [(str(save_dir), f"cannot write results there: {place} is no folder that is writable")]


def check_result(result: Path, depth: str) -> None:
    """Raise an error where a result of depth '8', '16' or 'float' cannot be written to a file of this name."""
    check_suffix(result, depth)
    if result.exists() and not result.is_file():
        raise OSError(f"cannot write {result}: it is there and no regular file")


def _planned(work: Work, wanted: WantedResults, scene: Scene, images: Sequence[Image]) -> Planned:
    depths = tuple(image.depth for image in images)
    depth = result_depth(wanted.depth, depths)
    result = work.result(scene, depth)
    check_result(result, depth)
    windows = tuple(image.window for image in images)
    return Planned(scene, result, images[0].pixels.shape[:2], depths, windows, result.exists())
