"""What fusing scenes would do and what would fail, found out without fusing and without writing anything."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adasffuse.arguments import checked
from adasffuse.images.false_colors import check_palette
from adasffuse.images.image import Image
from adasffuse.images.notices import (
    LOOKED_AT,
    folder_notices,
    infrared_notices,
    notices_of_files,
    pick_evenly,
    summarize_scene,
    window_notices,
)
from adasffuse.images.pairs import Scene
from adasffuse.images.write import check_suffix, result_depth
from adasffuse.inference.folder import WantedResults, open_journal, report_on, unfinished
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.misalignment import are_scans, misaligned_pairs_notice, seen_misalignment
from adasffuse.inference.ranks import Ranks
from adasffuse.inference.results import former_results
from adasffuse.inference.volume import VolumePlan, WantedVolumes, plan_volumes
from adasffuse.inference.volume_pairs import common_ranges, open_volume_journal
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


@dataclass(frozen=True)
class PlannedVolumes:
    """A pair of volumes that would be fused."""

    scene: Scene
    result: Path
    plan: VolumePlan  # without the volumes themselves
    replaces: bool  # the result is there already


@dataclass
class Plan:
    """What would be done."""

    planned: list[Planned] | list[PlannedVolumes] = field(default_factory=list)
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
    plan = _plan_of(work)
    journal = open_journal(fuser, work, wanted, reading, resume) if resume else None
    report = report_on(work, fuser)  # catches what `fuse_scenes` would catch
    seen, looks, off = [], [], []
    todo, _ = unfinished(work, journal, wanted.panels, Ranks(), report)
    plan.skipped = report.skipped
    looked_at = set(pick_evenly(todo, LOOKED_AT))
    for scene in todo:
        with report.blaming(scene):
            images = reading.read(scene)
            seen.append(summarize_scene(scene, images))
            plan.planned.append(_planned(work, wanted, scene, images))
            if scene in looked_at:
                looks.append(fuser.look_at(scene.paths[0], images))
            off.append((scene.stem, seen_misalignment(fuser.task, images, reading.align, scene in looked_at)))
    plan.failed += report.failed
    plan.notices += folder_notices(fuser.task, work.folder.folders, seen)
    plan.notices += infrared_notices(looks, fuser.denoise)
    plan.notices += misaligned_pairs_notice(off, reading.align, len(looks) if are_scans(fuser.task) else None)
    if work.file is None:
        plan.notices += former_results(one.result for one in plan.planned)
    plan.failed += unwritable(work.save_dir)
    return plan


@checked
def plan_volume_pairs(fuser: Fuser, work: Work, wanted: WantedVolumes, resume: bool = False) -> Plan:
    """Read the volumes of all pairs, one pair at a time, as `fuse_volume_pairs` would, and say what would come of it.

    Raises:
        SaveError, ValueError: as `fuse_volume_pairs`.
    """
    check_palette(wanted.palette, fuser.task)
    reading, windows = common_ranges(work, wanted)
    report = report_on(work, fuser)  # catches what `fuse_volume_pairs` would catch
    plan, notices = _plan_of(work), []
    journal = open_volume_journal(fuser, work, reading, resume) if resume else None
    todo, _ = unfinished(work, journal, wanted.panels, Ranks(), report)
    for scene in todo:
        result = work.result(scene, wanted.stored_depth)
        with report.blaming(scene):
            check_file(result)
            one = plan_volumes(fuser, scene.paths, result, reading)
            plan.planned.append(PlannedVolumes(scene, result, replace(one, volumes=()), result.exists()))
            notices += one.notices
    plan.skipped = report.skipped
    plan.failed += report.failed + unwritable(work.save_dir)
    plan.notices += window_notices(work.sources, wanted.specs, windows) + notices_of_files(notices)
    return plan


def _plan_of(work: Work) -> Plan:
    """A plan that holds what belongs to no scene."""
    failed = [(problem.name, problem.reason) for problem in work.problems if not problem.harmless]
    return Plan(failed=failed, notices=[problem.reason for problem in work.problems if problem.harmless])


def unwritable(save_dir: Path) -> list[tuple[str, str]]:
    """Where results cannot be written to a folder, its name and why."""
    place = next(folder for folder in (save_dir, *save_dir.absolute().parents) if folder.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return []
    return [(str(save_dir), f"cannot write results there: {place} is no folder that is writable")]


def check_result(result: Path, depth: str) -> None:
    """Raise an error where a result of depth '8', '16' or 'float' cannot be written to a file of this name."""
    check_suffix(result, depth)
    check_file(result)


def check_file(result: Path) -> None:
    """Raise an error where something else than a file lies in the place of a result."""
    if result.exists() and not result.is_file():
        raise OSError(f"cannot write {result}: it is there and no regular file")


def _planned(work: Work, wanted: WantedResults, scene: Scene, images: Sequence[Image]) -> Planned:
    depths = tuple(image.depth for image in images)
    depth = result_depth(wanted.depth, depths)
    result = work.result(scene, depth)
    check_result(result, depth)
    windows = tuple(image.window for image in images)
    return Planned(scene, result, images[0].pixels.shape[:2], depths, windows, result.exists())
