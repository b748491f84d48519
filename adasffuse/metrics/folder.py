"""Scoring folders of fused images: one image that cannot be scored never stops the others."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import PIL.Image
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.classical.baselines import BASELINES
from adasffuse.images.boxes import Annotation
from adasffuse.images.image import ImageError
from adasffuse.images.notices import notices_of_files
from adasffuse.images.pairs import Scene, scene_of_files
from adasffuse.images.ranges import RangeSpec, resolve_ranges
from adasffuse.images.trees import scenes_in
from adasffuse.metrics.cache import forget_oldest
from adasffuse.metrics.conventions import DEFAULT_METRICS, definitions
from adasffuse.metrics.evaluation import check_given
from adasffuse.metrics.job import Job, Result, Settings, score_job
from adasffuse.metrics.matching import (
    find_annotations,
    find_references,
    first_reasons,
    match_results,
    notices_of_problems,
    same_files,
)
from adasffuse.metrics.table import ScoreTable
from adasffuse.metrics.workers import (
    WorkerError,
    available_cores,
    available_memory,
    can_start_workers,
    map_in_processes,
)

_WORTH_A_WORKER = 20  # images per process: starting one takes about as long as scoring them
_PROCESS_BYTES = 300 << 20  # memory of a scoring process without images
_BYTES_IN_STRIPS, _BYTES_OF_OTHERS, _BYTES_OF_QP = 60, 120, 260  # per pixel; in strips: default metrics and Spurious


@checked
def score_folders(
    source_a: str | Path,
    source_b: str | Path,
    fused: Mapping[str, str | Path],
    baselines: Sequence[str] = (),
    reference: str | Path | None = None,
    settings: Settings | None = None,
    workers: int | None = None,
    progress: bool = True,
    ranges: tuple[RangeSpec | None, RangeSpec | None] = (None, None),
    no_data: tuple[float | None, float | None] = (None, None),
    patterns: tuple[str | None, str | None] | None = None,
    boxes: str | Path | None = None,
    thermal: tuple[bool, ...] | None = None,
    range_fused: Mapping[str, tuple[float, float]] | None = None,
    range_reference: tuple[float, float] | None = None,
    within: float | None = None,
) -> ScoreTable:
    """Score folders of fused images, whose files are named like the scenes of the sources.

    Images that cannot be scored (missing, damaged, of another size, in a missing folder) are listed in the table's
    `unscored`, and all others are scored.

    Args:
        source_a, source_b: folders of the sources, patterns of paths that name them in many folders ('data/*/ir', see
            `adasffuse.images.trees`), or the files of one scene.
        fused: method name to folder; to folder and file pattern ('results/*_fused.png', * being the name of the scene);
            to a pattern of paths, where those of the sources have as many '*'; or, for one scene, to a file.
        baselines: names out of `BASELINES`, which are fused here.
        reference: folder of true images, or the file of one scene, for metrics that compare with them.
        settings: metrics, convention and cache; None: the default ones, without a cache.
        workers: processes; None: all cores, or fewer for few images.  The scores do not depend on it.
        progress: show a progress bar if standard error is a terminal.
        ranges: for A and for B, the values of black and white in files of more than 8 bits, as
            `adasffuse.images.ranges.parse_range` returns them.
        no_data: for A and for B, the value, in the files' units, that means "no data".  A source without data counts as
            equal to the other one there.
        patterns: name patterns of the files of A and of B, see `adasffuse.images.pairs.find_scenes`.
        boxes: folder of Pascal VOC files, `STEM.xml`, for metrics of targets.
        thermal: for A and for B, whether it is read as thermal, as `Task.thermal`; None if the task is unknown: only
            FLIR's radiometric JPEG as A.
        range_fused: method name to the values of black and white in its files of more than 8 bits, for those of other
            programs: floating-point files need them, and files of 16 bits whose white is not 65535.
        range_reference: the same of the true images.
        within: largest difference in seconds of sources that are paired by the times in their names, see
            `adasffuse.images.pairs.find_scenes`.
    Raises:
        ImageError: a folder of sources or references is missing or holds no image, or no two sources match; the folder
            of boxes is missing, holds no boxes of any scene, or one of its files is malformed.
        ValueError: unknown metric, convention or baseline; a method named twice; nothing to score.
    """
    settings = settings or Settings()
    check_given(definitions(settings.names, settings.convention), reference is not None, boxes is not None)
    _check_baselines(baselines)
    twice = [name for name in baselines if name in fused]
    if twice:
        raise ValueError(
            f"{twice[0]!r} names a baseline and a folder; name the folder otherwise: OTHER={fused[twice[0]]}"
        )
    if not fused and not baselines:
        raise ValueError("nothing to score: give folders of fused images or baselines")
    sources = (Path(source_a), Path(source_b))
    if all(source.is_file() for source in sources):
        if any(patterns or ()) or within is not None:
            raise ValueError("patterns and times in names are for folders; these sources are files")
        scenes, problems = [scene_of_files(sources[0].stem, sources)], []
    else:
        scenes, problems = scenes_in(sources, patterns, within)
    if not scenes:
        raise ImageError(
            f"no file of {source_a} matches one of {source_b}: {first_reasons(p.reason for p in problems)}"
        )
    notices = notices_of_problems(problems)
    known = {problem.name for problem in problems}
    methods: dict[str, Mapping[str, Path] | None] = dict.fromkeys(baselines)
    reasons: dict[tuple[str, str], str] = {}  # (method, stem) to why there is no fused image
    for name, folder in fused.items():
        methods[name], lacking, more = match_results(scenes, folder, known)
        reasons |= {(name, stem): reason for stem, reason in lacking.items()}
        notices += more
    references, more = find_references(scenes, reference, known)
    annotations, others = find_annotations(scenes, boxes, settings.classes)
    notices += more + others
    notices += same_files(scenes, methods, references)
    columns = [[scene.paths[number] for scene in scenes] for number in (0, 1)]
    windows = resolve_ranges(ranges, columns, no_data, thermal)
    for letter, spec, window in zip("AB", ranges, windows):
        if window is not None and spec.kind != "fixed":
            notices.append(f"values of source {letter} shown as black and white: {window[0]:g} {window[1]:g}")
    scores = score_pairs(
        scenes,
        methods,
        references,
        settings,
        workers,
        progress,
        ranges=windows,
        no_data=no_data,
        reasons=reasons,
        annotations=annotations,
        thermal=thermal,
        range_fused=range_fused,
        range_reference=range_reference,
    )
    scores.notices[:0] = notices
    return scores


@checked
def score_pairs(
    scenes: Sequence[Scene],
    methods: Mapping[str, Mapping[str, Path] | None],
    references: Mapping[str, Path] | None = None,
    settings: Settings | None = None,
    workers: int | None = None,
    progress: bool = True,
    ranges: tuple[tuple[float, float] | None, ...] = (None, None),
    no_data: tuple[float | None, ...] = (None, None),
    reasons: Mapping[tuple[str, str], str] | None = None,
    annotations: Mapping[str, Annotation] | None = None,
    thermal: tuple[bool, ...] | None = None,
    range_fused: Mapping[str, tuple[float, float]] | None = None,
    range_reference: tuple[float, float] | None = None,
) -> ScoreTable:
    """Score fused images of scenes of two sources; arguments not named here as in `score_folders`.

    Args:
        scenes: as `adasffuse.images.pairs.find_scenes` returns them.
        methods: method name to stem to fused image, in the table's order; None for the baseline of that name.
        references: stem to true image, for metrics that compare with it.
        ranges: (LOW, HIGH) of A and of B, or None.
        reasons: (method, stem) to the reason why the fused image is missing.
        annotations: stem to boxes, for metrics of targets.
    Raises:
        ValueError: a scene has more than two sources; metrics compare two with the fused image.  Unknown baseline.
    """
    for scene in scenes:
        if len(scene.paths) != 2:
            raise ValueError(
                f"{scene.stem} has {len(scene.paths)} sources: metrics compare two sources with the fused image; score "
                "longer stacks two sources at a time"
            )
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more processes, got {workers}")
    _check_baselines([name for name, files in methods.items() if files is None])
    settings, reasons = settings or Settings(), reasons or {}
    table = ScoreTable(settings.metrics, settings.convention, settings.beside)
    jobs = []
    for method, files in methods.items():
        for scene in scenes:
            if files is not None and scene.stem not in files:
                reason = reasons.get((method, scene.stem), "there is no fused image of it")
                table.add_unscored(method, scene.stem, reason)
            elif references is not None and scene.stem not in references:
                table.add_unscored(method, scene.stem, "there is no true image of it")
            else:
                fused = None if files is None else files[scene.stem]
                reference = (references or {}).get(scene.stem)
                annotation = (annotations or {}).get(scene.stem)
                windows = {"a": ranges[0], "b": ranges[1], "fused": (range_fused or {}).get(method)}
                windows["reference"] = range_reference
                job = Job(method, scene, fused, reference, annotation, settings, windows, tuple(no_data), thermal)
                jobs.append(job)
    cache_trouble, told = "", {}
    with contextlib.closing(_run(jobs, workers, progress)) as results:
        for job, result in zip(jobs, results):
            if result.scores is None:
                table.add_unscored(job.method, job.scene.stem, result.failure)
            else:
                table.add(job.method, job.scene.stem, result.size, result.scores)
            told |= dict.fromkeys(result.notices)  # a source is read again for every method
            cache_trouble = cache_trouble or result.cache_trouble
    table.notices += notices_of_files(told)
    if cache_trouble:
        table.notices.append(
            f"the cache {settings.cache} cannot be used ({cache_trouble}): nothing is remembered there"
        )
    if settings.cache:
        forget_oldest(settings.cache)
    return table


def _check_baselines(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is none of `BASELINES`."""
    for name in names:
        if name not in BASELINES:
            raise ValueError(f"unknown baseline {name!r}; there are {', '.join(BASELINES)}")


def _run(jobs: Sequence[Job], workers: int | None, progress: bool) -> Iterator[Result]:
    """Results in the order of the jobs."""
    if workers is None:
        workers = min(available_cores(), len(jobs) // _WORTH_A_WORKER, _affordable(jobs))
    workers = min(workers, len(jobs))
    show = functools.partial(tqdm, total=len(jobs), desc="scoring", unit="image", disable=None if progress else True)
    if workers <= 1 or not can_start_workers():
        yield from show(map(score_job, jobs))
        return
    with contextlib.closing(map_in_processes(score_job, jobs, workers)) as results:
        for result in show(results):
            yield Result(failure=str(result)) if isinstance(result, WorkerError) else result


def _affordable(jobs: Sequence[Job]) -> int:
    """Number of processes that fit into memory, judged by the largest file; all if memory or size are unknown."""
    files = {path for job in jobs for path in job.paths.values()}
    memory = available_memory()
    if memory is None or not files:
        return len(jobs)
    try:
        with PIL.Image.open(max(files, key=lambda path: path.stat().st_size)) as image:
            pixels = image.width * image.height
    except (OSError, ValueError, PIL.Image.DecompressionBombError):  # reading it later tells what is wrong
        return len(jobs)
    names = set(jobs[0].settings.names)
    each = _BYTES_IN_STRIPS if names <= {*DEFAULT_METRICS, "Spurious"} else _BYTES_OF_OTHERS
    if "QP" in names:
        each = _BYTES_OF_QP
    return max(1, memory // (_PROCESS_BYTES + pixels * each))
