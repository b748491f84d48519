"""What `adasffuse fuse` says of plans and of results."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from adasffuse import inference
from adasffuse.cli.shared import say_few, say_report
from adasffuse.cli.task_script import print_report, score
from adasffuse.inference.work import Work
from adasffuse.messages import counted, printable
from adasffuse.process import say, say_all_notices


def tell_plan(plan: inference.Plan, fuser: inference.Fuser, args: argparse.Namespace, volumes: bool) -> int:
    """Print a plan, of volumes or of images; the exit status."""
    if args.json:
        values = _plan_values(plan, fuser, _volume_values if volumes else _image_values)
        say_report(values, plan.failed, plan.notices)
        return int(bool(plan.failed))
    lines = _volume_lines if volumes else _image_lines
    for line in (line for one in plan.planned for line in lines(one)):
        say(printable(line))
    say_few("  would fail", plan.failed)
    say_few("notice", (("", notice) for notice in dict.fromkeys(plan.notices)))
    before = f", {len(plan.skipped)} finished before" if plan.skipped else ""
    say(f"{len(plan.planned)} would be fused{before}, {len(plan.failed)} would fail; nothing was written")
    return int(bool(plan.failed))


def tell(report: inference.FolderReport, fuser: inference.Fuser, work: Work, args: argparse.Namespace) -> None:
    """Print the report and, where they are asked for, scores."""
    table = score(report, fuser.task.id) if args.scores and report.finished else None
    if args.json:
        values = _report_values(report, fuser, work, args.panel)
        if table:
            values["scores"] = json.loads(table.json())
        say_report(values, report.failed, report.notices)
        return
    print_report(report)
    if args.panel and report.finished:
        say(f"panels: {work.panel(report.finished[0]) if work.file else work.panel(report.finished[0]).parent}")
    if table:
        say_all_notices(table.notices)
        say(table.text())


def _plan_values(
    plan: inference.Plan, fuser: inference.Fuser, values: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """A plan as JSON values; `values` gives those of one scene beside its files."""
    planned = [
        {
            "name": one.scene.stem,
            "sources": [str(path) for path in one.scene.paths],
            "result": str(one.result),
            **values(one),
            "replaces": one.replaces,
        }
        for one in plan.planned
    ]
    return {
        "dry_run": True,
        "task": fuser.task.id,
        "network": f"{fuser.precision} on {fuser.device}",
        "planned": planned,
        "skipped": [scene.stem for scene in plan.skipped],
    }


def _image_lines(one: inference.Planned) -> list[str]:
    """What is said of images that would be fused."""
    height, width = one.size
    sources = " + ".join(
        f"{path.name} ({'float' if depth == 'float' else depth + ' bits'}, {low:g} to {high:g})"
        for path, depth, (low, high) in zip(one.scene.paths, one.depths, one.windows)
    )
    note = ", replaced" if one.replaces else ""
    return [f"  {one.scene.stem}: {width}x{height}, {sources} -> {one.result}{note}"]


def _image_values(one: inference.Planned) -> dict[str, Any]:
    """Images that would be fused as JSON values."""
    return {
        "height": one.size[0],
        "width": one.size[1],
        "depths": list(one.depths),
        "ranges": [list(window) for window in one.windows],
    }


def _volume_lines(one: inference.PlannedVolumes) -> list[str]:
    """What is said of a pair of volumes that would be fused."""
    plan, values = one.plan, _volume_values(one)
    sources = " + ".join(
        f"{path.name} ({_sizes(shape)} voxels of {_sizes(mm)} mm, {low:g} to {high:g})"
        for path, shape, mm, (low, high) in zip(one.scene.paths, values["voxels"], values["mm"], plan.windows)
    )
    kind = "gray" if plan.palette == "none" else f"RGB, source A in {plan.palette!r}"
    depth = "float" if plan.depth == "float" else f"{plan.depth} bits"
    slices = f"{counted(values['slices'], 'slice')} of {_sizes(values['slice'])}"
    note = ", replaced" if one.replaces else ""
    return [
        f"  {one.scene.stem}: {sources} -> {one.result}{note}",
        f"  the result: {_sizes(plan.shape)} voxels, {depth}, {kind}; {slices} are fused",
    ]


def _volume_values(one: inference.PlannedVolumes) -> dict[str, Any]:
    """A pair of volumes that would be fused as JSON values."""
    plan = one.plan
    shape = list(plan.shape)
    return {
        "voxels": list(map(list, plan.stored)),
        "mm": [[round(step, 4) for step in steps] for steps in plan.voxels],
        "ranges": list(map(list, plan.windows)),
        "shape": shape,
        "axis": plan.axis,
        "slices": shape[plan.axis],
        "slice": shape[: plan.axis] + shape[plan.axis + 1 :],
        "depth": plan.depth,
        "palette": plan.palette,
    }


def _sizes(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def _report_values(report: inference.FolderReport, fuser: inference.Fuser, work: Work, panels: bool) -> dict[str, Any]:
    """A report as JSON values."""

    def values(scene: Any) -> dict[str, Any]:
        files = {"name": scene.stem, "sources": list(map(str, scene.paths)), "result": str(report.files[scene.stem])}
        return files | ({"panel": str(work.panel(scene))} if panels else {})

    return {
        "task": fuser.task.id,
        "network": report.network,
        "fused": [values(scene) for scene in report.fused],
        "skipped": [values(scene) for scene in report.skipped],
        "ranges": [list(window) if window else None for window in report.ranges],
        "seconds": round(report.seconds, 3),
    }
