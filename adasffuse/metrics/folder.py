"""Scoring folders of fused images: one image that cannot be scored never stops the others."""

import contextlib
import functools
import hashlib
import stat
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import scipy
import skimage
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.classical.baselines import BASELINES
from adasffuse.images.boxes import PEOPLE, Annotation, find_boxes, of_classes
from adasffuse.images.color import luminance
from adasffuse.images.folders import identity_of
from adasffuse.images.image import ImageError
from adasffuse.images.levels import expanded, is_large, luma_of
from adasffuse.images.no_data import fill_missing
from adasffuse.images.notices import notices_of_files
from adasffuse.images.pairs import Scene, SceneProblem, scene_of_files
from adasffuse.images.patterns import folder_and_pattern, is_tree, pattern_for
from adasffuse.images.ranges import RangeSpec, is_thermal, resolve_ranges
from adasffuse.images.read import read_image
from adasffuse.images.trees import scenes_in
from adasffuse.messages import first_of
from adasffuse.metrics.cache import forget_oldest, recall, remember
from adasffuse.metrics.conventions import DEFAULT_METRICS, definitions
from adasffuse.metrics.evaluation import MetricWarning, check_given, evaluate
from adasffuse.metrics.table import ScoreTable
from adasffuse.metrics.workers import (
    WorkerError,
    available_cores,
    available_memory,
    can_start_workers,
    map_in_processes,
)
from adasffuse.process import release_freed_memory

_WORTH_A_WORKER = 20  # images per process: starting one takes about as long as scoring them
_PROCESS_BYTES = 300 << 20  # memory of a scoring process without images
_BYTES_IN_STRIPS, _BYTES_OF_OTHERS, _BYTES_OF_QP = 60, 120, 260  # per pixel; in strips: default metrics and Spurious
_LARGE = 1 << 22  # pixels at which freed memory is released before an image is scored
_SHOWN = 3  # problems of one folder that are listed
_LIBRARIES = (np, scipy, cv2, skimage, PIL)  # that read the images and compute the scores


@checked
@dataclass(frozen=True)
class Settings:
    """The scores to compute for every image, and how."""

    metrics: tuple[str, ...] = DEFAULT_METRICS
    convention: str = "adasffuse"
    per_channel: bool = False
    cache: Path | None = None  # folder of the score cache
    beside: tuple[str, ...] = ()  # metrics that are printed and not ranked
    classes: tuple[str, ...] = PEOPLE  # class names of the target boxes; ('all',): every box

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, each once."""
        return tuple(dict.fromkeys([*self.metrics, *self.beside]))

    @property
    def needs_colors(self) -> bool:
        """Whether a metric needs the images in colour."""
        inputs = {name for one in definitions(self.names, self.convention).values() for name in one.inputs}
        return self.per_channel or "color_fused" in inputs


@dataclass(frozen=True)
class _Job:
    """One fused image to score."""

    method: str
    scene: Scene
    fused: Path | None  # None: the baseline named `method` is computed
    reference: Path | None
    annotation: Annotation | None
    settings: Settings
    ranges: Mapping[str, tuple[float, float] | None]  # by the names of `paths`
    no_data: tuple[float | None, ...]  # of A and B
    thermal: tuple[bool, ...] | None  # of A and B

    @property
    def paths(self) -> dict[str, Path]:
        """The files to read, by the names of the metrics' arguments."""
        paths = {"a": self.scene.paths[0], "b": self.scene.paths[1], "fused": self.fused, "reference": self.reference}
        return {name: path for name, path in paths.items() if path is not None}

    def keys(self) -> dict[str, str]:
        """Key of each metric in the cache entry; it includes the boxes if the metric takes them."""
        keys = {}
        for metric, definition in definitions(self.settings.names, self.settings.convention).items():
            keys[metric] = f"{self.settings.convention}/{metric}"
            if "boxes" in definition.inputs:
                annotation = self.annotation and (self.annotation.size, self.annotation.boxes)
                content = repr((annotation, self.settings.classes))
                keys[metric] += f"/{hashlib.sha256(content.encode(errors='surrogatepass')).hexdigest()}"
        return keys


@dataclass(frozen=True)
class _Result:
    """Result of a job: scores, or the reason why there are none."""

    size: tuple[int, int] = (0, 0)  # height, width
    scores: Mapping[str, float] | None = None
    failure: str = ""  # why there are no scores
    notices: tuple[tuple[Path, str], ...] = ()  # file and what a user should know about it
    cache_trouble: str = ""  # why the scores could not be cached


@checked
def score_folders(
    source_a: str | Path,
    source_b: str | Path,
    fused: Mapping[str, str | Path],
    baselines: Sequence[str] = (),
    reference: str | Path | None = None,
    settings: Settings = Settings(),
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
        settings: metrics, convention and cache.
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
    table = definitions(settings.names, settings.convention)
    check_given(table, reference is not None, boxes is not None)
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
            f"no file of {source_a} matches one of {source_b}: {_first_reasons(p.reason for p in problems)}"
        )
    notices = _notices(problems)
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
    notices += _same_files(scenes, methods, references)
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
    settings: Settings = Settings(),
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
    reasons = reasons or {}
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
                job = _Job(method, scene, fused, reference, annotation, settings, windows, tuple(no_data), thermal)
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


def find_references(
    scenes: Sequence[Scene], folder: str | Path | None, known: Set[str] = frozenset()
) -> tuple[dict[str, Path] | None, list[str]]:
    """Stem to true image (None without a folder), and notices.

    Args:
        folder: folder of images named like the scenes.
        known: names that belong to no scene and have been reported.
    Raises:
        ImageError: the folder is missing or holds no image of any scene.
    """
    if folder is None:
        return None, []
    references, lacking, notices = match_results(scenes, folder, known)
    if not references:
        raise ImageError(f"no true image in {folder}: {_first_reasons(lacking.values())}")
    return references, notices


def _same_files(
    scenes: Sequence[Scene], methods: Mapping[str, Mapping[str, Path] | None], references: Mapping[str, Path] | None
) -> list[str]:
    """Notices about images that are scored against themselves, or under two names: a folder was given twice."""
    columns = {f"source {letter}": {s.stem: s.paths[number] for s in scenes} for number, letter in enumerate("AB")}
    columns |= {"the true images": references or {}}
    columns |= {f"the results of {name}": files or {} for name, files in methods.items()}
    identities: dict[str, dict[str, tuple[int, int]]] = {}
    notices = []
    for name, files in columns.items():
        with contextlib.suppress(OSError):  # scoring tells what is wrong
            own = {stem: identity_of(path) for stem, path in files.items()}
            same = next((other for other, theirs in identities.items() if own and own.items() <= theirs.items()), None)
            if same is not None:
                folder = next(iter(files.values())).parent
                notices.append(f"{name} are the very files of {same.removeprefix('the ')}, in {folder}; is that meant?")
            identities[name] = own
    return notices


def find_annotations(
    scenes: Sequence[Scene], folder: str | Path | None, classes: Sequence[str] = PEOPLE
) -> tuple[dict[str, Annotation] | None, list[str]]:
    """Stem to boxes (None without a folder), and notices about missing ones.

    Args:
        folder: folder of Pascal VOC files, `STEM.xml`.
        classes: class names of the target boxes.
    Raises:
        ImageError: see `adasffuse.images.boxes.find_boxes`.
    """
    if folder is None:
        return None, []
    found = find_boxes(folder, [scene.stem for scene in scenes])
    missing = [f"{scene.stem}.xml" for scene in scenes if scene.stem not in found]
    notices = [f"{folder} lacks {first_of(missing, _SHOWN)}: these images have no Retention"] if missing else []
    boxes = [box for annotation in found.values() for box in annotation.boxes]
    if not of_classes(boxes, classes):
        there = ", ".join(sorted({box.name for box in boxes})) or "none"
        notices.append(f"{folder} holds no box of {', '.join(classes)}; its classes: {there}")
    return found, notices


def match_results(
    scenes: Sequence[Scene], folder: str | Path, known: Set[str] = frozenset()
) -> tuple[dict[str, Path], dict[str, str], list[str]]:
    """Match the images of a folder to the scenes.

    Args:
        folder: folder, folder and pattern, or pattern of paths; the file itself for a single scene.
        known: names of source files that form no scene and have been reported.
    Returns:
        stem to file, stem to the reason why there is none, and notices.
    """
    stems = {scene.stem for scene in scenes}
    folder, pattern = folder_and_pattern(folder)
    if folder.is_file():
        if len(scenes) > 1:
            return {}, dict.fromkeys(stems, f"{folder} is one file, but there are {len(scenes)} scenes"), []
        return dict.fromkeys(stems, folder), {}, []
    try:
        images, problems = scenes_in((folder,), (pattern,))
    except (ImageError, OSError) as error:  # no such folder, or nothing in it: the other folders are scored
        return {}, dict.fromkeys(stems, str(error)), []
    files = {image.stem: image.paths[0] for image in images if image.stem in stems}
    reasons = {problem.name: problem.reason for problem in problems}
    absent = f"{folder} holds no image of it"
    if images and not files:
        absent += _called_otherwise(folder, sorted(stems), images)
    lacking = {stem: reasons.get(stem, absent) for stem in stems - files.keys()}
    notices = _notices([problem for problem in problems if problem.name not in lacking])
    others = images if files else []  # where nothing matches, the reason says it
    surplus = [f"{image.paths[0]} belongs to no scene" for image in others if image.stem not in stems | known]
    return files, lacking, notices + ([_first_reasons(surplus)] if surplus else [])


def _called_otherwise(folder: Path, stems: Sequence[str], images: Sequence[Scene]) -> str:
    """What to do where no image of a folder is called like a scene."""
    name = images[0].paths[0].name
    if is_tree(folder):
        return f": '*' stands for other names than those of the sources, {images[0].stem} for one"
    pattern = pattern_for(stems, [image.stem for image in images])
    if pattern:
        return f" by that name; give {folder / pattern} for files that are called like {name}"
    return f": its files are called like {name}, not like {stems[0]}; rename them to the names of the sources"


def _notices(problems: Sequence[SceneProblem]) -> list[str]:
    return [_first_reasons(problem.reason for problem in problems)] if problems else []


def _first_reasons(reasons: Iterable[str]) -> str:
    """The first few different sentences, and the number of further ones."""
    reasons = list(dict.fromkeys(reasons))
    more = f" (and {len(reasons) - _SHOWN} more)" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more


def _run(jobs: Sequence[_Job], workers: int | None, progress: bool) -> Iterator[_Result]:
    """Results in the order of the jobs."""
    if workers is None:
        workers = min(available_cores(), len(jobs) // _WORTH_A_WORKER, _affordable(jobs))
    workers = min(workers, len(jobs))
    show = functools.partial(tqdm, total=len(jobs), desc="scoring", unit="image", disable=None if progress else True)
    if workers <= 1 or not can_start_workers():
        yield from show(map(_score, jobs))
        return
    with contextlib.closing(map_in_processes(_score, jobs, workers)) as results:
        for result in show(results):
            yield _Result(failure=str(result)) if isinstance(result, WorkerError) else result


def _affordable(jobs: Sequence[_Job]) -> int:
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


def _score(job: _Job) -> _Result:
    """Score one fused image; only scores that the cache lacks are computed."""
    try:
        return _score_or_raise(job)
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        return _Result(failure=str(error) or type(error).__name__)


def _score_or_raise(job: _Job) -> _Result:
    paths, settings = job.paths, job.settings
    for path in paths.values():
        _check_regular(path)
    entry = _cache_entry(job, paths) if settings.cache else None
    known = recall(entry) if entry else {"scores": {}}
    wanted = job.keys()
    missing = [metric for metric, key in wanted.items() if key not in known["scores"]]
    notices, cache_trouble = (), ""
    if missing or "size" not in known:
        images, notices = _read(job, paths)
        known["size"] = images["fused"].shape[:2]
        if images["fused"].size >= _LARGE:
            release_freed_memory()  # from reading, and from the previous image
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetricWarning)  # the table counts what is undefined
            scores = evaluate(
                a=images.pop("a"),  # so that `evaluate` can free it
                b=images.pop("b"),
                fused=images.pop("fused"),
                reference=images.pop("reference", None),
                metrics=missing,
                convention=settings.convention,
                data_range=1.0,
                per_channel=settings.per_channel,
                boxes=job.annotation.boxes if job.annotation else (),
                classes=settings.classes,
            )
        known["scores"] |= {wanted[metric]: score for metric, score in scores.items()}
        if entry and not notices:  # notices come from reading the files, so these must be read again
            cache_trouble = remember(entry, known)
    scores = {metric: known["scores"][key] for metric, key in wanted.items()}
    return _Result(tuple(known["size"]), scores, notices=notices, cache_trouble=cache_trouble)


def _read(job: _Job, paths: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], tuple[tuple[Path, str], ...]]:
    """Read the images of a job, and fuse them if its method is a baseline.

    Returns:
        name to pixels, float32 in [0, 1], reduced to luminance if no metric needs colour; and notices.
    Raises:
        ImageError: a file cannot be read, heights and widths differ, pixels of a result hold no data, or the boxes are
            those of another image.
    """
    no_data = dict(zip("ab", job.no_data))
    images, notices, valids = {}, (), []
    for name, path in paths.items():
        thermal = name in "ab" and is_thermal("ab".index(name), path, job.thermal)
        file = read_image(
            path,
            job.ranges[name],
            no_data.get(name),
            thermal,
            levels=True,
            option=f"--range_{name}",
            result=name not in "ab",
        )
        notices += tuple((path, notice.removeprefix(f"{path}: ")) for notice in file.notices)
        images[name] = file.pixels
        _check_size(images, paths, name)
        if name in "ab":
            valids.append(file.valid)
        elif file.valid is not None:
            lost = np.count_nonzero(~file.valid)
            raise ImageError(f"{path}: {lost} of its pixels hold no data (NaN, for one); only whole images are scored")
        del file  # frees the colour image once its luminance is computed
        if name == "b" and any(valid is not None for valid in valids):
            images["a"], images["b"] = fill_missing((expanded(images["a"]), expanded(images["b"])), valids)[0]
        if name != "a" and not job.settings.needs_colors:
            images = {name: luma_of(image) for name, image in images.items()}
        if is_large(images[name].shape):
            release_freed_memory()  # from decoding, and from the previous image
    if job.settings.needs_colors:
        images = {name: expanded(image) for name, image in images.items()}
    if job.annotation:
        job.annotation.check_size(*images["a"].shape[:2])
    if job.fused is None:
        images["fused"] = BASELINES[job.method](luminance(images["a"]), luminance(images["b"]))
    return images, notices


def _check_size(images: Mapping[str, np.ndarray], paths: Mapping[str, Path], name: str) -> None:
    """Raise ImageError unless an image has the size of source A."""
    (height, width), (own_height, own_width) = images["a"].shape[:2], images[name].shape[:2]
    if (own_height, own_width) != (height, width):
        sizes = f"{paths['a']} is {width}x{height}, {paths[name]} is {own_width}x{own_height} pixels"
        cure = "fuse and save at the sources' size"
        if name == "b":
            cure = "score aligned sources: adasffuse align A B -o DIR writes them"
        raise ImageError(f"sizes differ: {sizes}; {cure}")


def _check_regular(path: Path) -> None:
    """Refuse pipes and devices, reading which might never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise ImageError(f"{path}: not a regular file")


def _cache_entry(job: _Job, paths: Mapping[str, Path]) -> Path:
    """The cache file of exactly these images under exactly this code."""
    digest = hashlib.sha256(_code_digest().encode())
    baseline = job.method if job.fused is None else ""
    choices = f"{baseline}/{job.settings.per_channel}/{job.ranges}/{job.no_data}/{job.thermal}/{list(paths)}"
    digest.update(choices.encode())
    for path in paths.values():
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    name = digest.hexdigest()
    return job.settings.cache / name[:2] / f"{name}.json"


@functools.cache
def _code_digest() -> str:
    """Hash of everything that a score depends on: our source files and the versions of the libraries."""
    digest = hashlib.sha256(" ".join(library.__version__ for library in _LIBRARIES).encode())
    package = Path(__file__).resolve().parents[1]
    modules = [package / "classical" / "baselines.py", *(package / "images").glob("*.py")]
    for path in sorted([*(package / "metrics").glob("*.py"), *modules]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
