"""Scoring folders of fused images: worker processes, a cache by content, one table."""

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import scipy
from tqdm import tqdm

from adasffuse.classical.baselines import BASELINES
from adasffuse.images.color import luminance
from adasffuse.images.pairs import Scene, SceneProblem, find_scenes
from adasffuse.images.read import ImageError, read_image
from adasffuse.metrics.conventions import DEFAULT_METRICS, definitions
from adasffuse.metrics.evaluation import MetricWarning, check_reference_not_needed, evaluate
from adasffuse.metrics.table import ScoreTable

_WORTH_A_WORKER = 20  # images: starting a process takes about as long as scoring them
_CACHE_ENTRIES = 20_000  # remembered images, about 1 KB each; those unused for longest are forgotten

Ranges = tuple[tuple[float, float] | None, tuple[float, float] | None]  # values of A and B that are black and white


@dataclass(frozen=True)
class Settings:
    """What is computed for every image."""

    metrics: tuple[str, ...] = DEFAULT_METRICS
    convention: str = "adasffuse"
    per_channel: bool = False
    cache: Path | None = None  # folder of remembered scores


@dataclass(frozen=True)
class _Job:
    """One fused image to score."""

    method: str
    pair: Scene
    fused: Path | None  # None: the baseline named `method` is computed
    reference: Path | None
    settings: Settings
    ranges: Ranges = (None, None)


def score_folders(
    source_a: str | Path,
    source_b: str | Path,
    fused: Mapping[str, str | Path],
    baselines: Sequence[str] = (),
    reference: str | Path | None = None,
    settings: Settings = Settings(),
    workers: int | None = None,
    progress: bool = True,
) -> ScoreTable:
    """Score folders of fused images, whose files match the sources by stem.

    Args:
        source_a, source_b: folders of the sources.
        fused: method name to folder.
        baselines: names out of `BASELINES`, fused here and now.
        reference: folder of true images, for metrics that compare with them.
        settings: metrics, convention and cache.
        workers: processes; None: all cores, or fewer where there is little to do.  The scores do not depend on it.
        progress: show a progress bar where standard error is a terminal.
    Raises:
        ImageError: a folder or file is missing, has no partner, cannot be read, or differs in size.
        ValueError: unknown metric, convention or baseline; a method named twice; nothing to score.
    """
    table = definitions(settings.metrics, settings.convention)
    if reference is None:
        check_reference_not_needed(table)
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ValueError(f"unknown baseline {unknown[0]!r}; there are {', '.join(BASELINES)}")
    twice = [name for name in baselines if name in fused]
    if twice:
        raise ValueError(
            f"{twice[0]!r} names a baseline and a folder; name the folder otherwise: OTHER={fused[twice[0]]}"
        )
    if not fused and not baselines:
        raise ValueError("nothing to score: give folders of fused images or baselines")
    pairs = _matched(source_a, source_b)
    references = _partners(pairs, reference, source_a) if reference is not None else {}
    methods = dict.fromkeys(baselines) | {n: _partners(pairs, folder, source_a) for n, folder in fused.items()}
    return score_pairs(pairs, methods, references, settings, workers, progress)


def score_pairs(
    pairs: Sequence[Scene],
    methods: Mapping[str, Mapping[str, Path] | None],
    references: Mapping[str, Path] | None = None,
    settings: Settings = Settings(),
    workers: int | None = None,
    progress: bool = True,
    ranges: Ranges = (None, None),
) -> ScoreTable:
    """Score fused images of pairs already found; arguments not named here as in `score_folders`.

    Args:
        methods: by name, in the table's order, the fused image of every stem, or None for the baseline of that name.
        references: the true image of every stem, for metrics that compare with it.
        ranges: the `value_range` of `adasffuse.images.read.read_image` for A and for B.
    """
    jobs = [
        _Job(name, pair, files and files[pair.stem], (references or {}).get(pair.stem), settings, ranges)
        for name, files in methods.items()
        for pair in pairs
    ]
    scores = ScoreTable(settings.metrics, settings.convention)
    for job, (size, values) in zip(jobs, _run(jobs, workers, progress)):
        scores.add(job.method, job.pair.stem, size, values)
    if settings.cache:
        _forget_oldest(settings.cache)
    return scores


def _matched(folder_a: str | Path, folder_b: str | Path) -> list[Scene]:
    """Pairs of two folders; a file without partner is an error, a file that is no image is passed over."""
    pairs, problems = find_scenes((folder_a, folder_b))
    _raise_unless_harmless(problems)
    return pairs


def _partners(pairs: Sequence[Scene], folder: str | Path, source_a: str | Path) -> dict[str, Path]:
    """Stem to file of a folder that must hold one image per pair."""
    if Path(folder).is_dir() and Path(source_a).is_dir() and os.path.samefile(folder, source_a):
        return {pair.stem: pair.paths[0] for pair in pairs}  # the source itself, to be scored
    return {pair.stem: pair.paths[0] for pair in _matched(folder, source_a)}


def _raise_unless_harmless(problems: Iterable[SceneProblem]) -> None:
    reasons = [problem.reason for problem in problems if not problem.harmless]
    if reasons:
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise ImageError("; ".join(reasons[:3]) + more + "; add the missing files or take the others out")


def _run(
    jobs: Sequence[_Job], workers: int | None, progress: bool
) -> Iterable[tuple[tuple[int, int], dict[str, float]]]:
    """Results in the order of the jobs."""
    if workers is None:
        workers = min(_cores(), len(jobs) // _WORTH_A_WORKER)
    workers = min(workers, len(jobs))
    show = functools.partial(tqdm, total=len(jobs), desc="scoring", unit="image", disable=None if progress else True)
    if workers <= 1:
        yield from show(map(_score, jobs))
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield from show(pool.map(_score, jobs))


def _cores() -> int:
    """Processor cores that this process may use, where the system says which; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _score(job: _Job) -> tuple[tuple[int, int], dict[str, float]]:
    """Size and scores of one fused image; only what the cache lacks is computed."""
    paths = {"a": job.pair.paths[0], "b": job.pair.paths[1], "fused": job.fused, "reference": job.reference}
    paths = {name: path for name, path in paths.items() if path is not None}
    settings = job.settings
    entry = _cache_entry(job, paths) if settings.cache else None
    known = _remembered(entry) if entry else {"scores": {}}
    wanted = {metric: f"{settings.convention}/{metric}" for metric in settings.metrics}
    missing = [metric for metric, key in wanted.items() if key not in known["scores"]]
    if missing or "size" not in known:
        ranges = dict(zip("ab", job.ranges))
        images = {name: read_image(path, ranges.get(name)).pixels for name, path in paths.items()}
        _check_sizes(images, paths)
        if job.fused is None:
            images["fused"] = BASELINES[job.method](*(luminance(images[name]) for name in ("a", "b")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetricWarning)  # the table counts what is undefined
            scores = evaluate(
                **images,
                metrics=missing,
                convention=settings.convention,
                data_range=1.0,
                per_channel=settings.per_channel,
            )
        known["size"] = images["fused"].shape[:2]
        known["scores"] |= {wanted[metric]: score for metric, score in scores.items()}
        if entry:
            _write(entry, json.dumps(known))
    height, width = known["size"]
    return (height, width), {metric: known["scores"][key] for metric, key in wanted.items()}


def _check_sizes(images: Mapping[str, np.ndarray], paths: Mapping[str, Path]) -> None:
    if len({image.shape[:2] for image in images.values()}) > 1:
        sizes = ", ".join(f"{paths[name]} is {p.shape[1]}x{p.shape[0]}" for name, p in images.items())
        raise ImageError(f"sizes differ: {sizes} pixels; fuse and save at the sources' size")


def _cache_entry(job: _Job, paths: Mapping[str, Path]) -> Path:
    """The file that remembers the scores of these very images under this very code."""
    digest = hashlib.sha256(_code_digest().encode())
    baseline = job.method if job.fused is None else ""
    digest.update(f"{baseline}/{job.settings.per_channel}/{job.ranges}/{list(paths)}".encode())
    for path in paths.values():
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    name = digest.hexdigest()
    return job.settings.cache / name[:2] / f"{name}.json"


def _remembered(entry: Path) -> dict:
    """What an entry holds: the size of the fused image and its scores; nothing where it is absent or damaged."""
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        height, width = known["size"]
        if not all(isinstance(value, float) for value in known["scores"].values()):
            raise ValueError("a score is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"scores": {}}
    with contextlib.suppress(OSError):
        entry.touch()  # what was used last is kept
    return {"size": (int(height), int(width)), "scores": known["scores"]}


def _forget_oldest(cache: Path) -> None:
    """Delete the entries unused for longest where there are more than `_CACHE_ENTRIES`; others may do so as well."""
    ages = []
    for path in cache.glob("??/*.json"):
        with contextlib.suppress(OSError):
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[: max(len(ages) - _CACHE_ENTRIES, 0)]:
        with contextlib.suppress(OSError):
            path.unlink()


@functools.cache
def _code_digest() -> str:
    """Hash of everything that decides on a score: our source files and the versions of the libraries."""
    digest = hashlib.sha256(" ".join([np.__version__, scipy.__version__, cv2.__version__]).encode())
    package = Path(__file__).resolve().parents[1]
    modules = [package / name for name in ("classical/baselines.py", "images/color.py", "images/read.py")]
    for path in [*sorted(Path(__file__).parent.glob("*.py")), *modules]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, also when several processes write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
