"""Scoring one fused image: what it needs, in this process or another one, and what comes of it."""

import hashlib
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.classical.baselines import BASELINES
from adasffuse.images.boxes import PEOPLE, Annotation
from adasffuse.images.color import luminance
from adasffuse.images.image import ImageError
from adasffuse.images.levels import expanded, is_large, luma_of
from adasffuse.images.no_data import fill_missing
from adasffuse.images.pairs import Scene
from adasffuse.images.ranges import is_thermal
from adasffuse.images.read import read_image
from adasffuse.metrics.cache import code_digest, recall, remember
from adasffuse.metrics.conventions import DEFAULT_METRICS, definitions
from adasffuse.metrics.evaluation import MetricWarning, evaluate
from adasffuse.process import release_freed_memory

_LARGE = 1 << 22  # pixels at which freed memory is released before an image is scored


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
class Job:
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
class Result:
    """Result of a job: scores, or the reason why there are none."""

    size: tuple[int, int] = (0, 0)  # height, width
    scores: Mapping[str, float] | None = None
    failure: str = ""  # why there are no scores
    notices: tuple[tuple[Path, str], ...] = ()  # file and what a user should know about it
    cache_trouble: str = ""  # why the scores could not be cached


def score_job(job: Job) -> Result:
    """Score one fused image; only scores that the cache lacks are computed."""
    try:
        return _score_or_raise(job)
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        return Result(failure=str(error) or type(error).__name__)


def _score_or_raise(job: Job) -> Result:
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
    return Result(tuple(known["size"]), scores, notices=notices, cache_trouble=cache_trouble)


def _read(job: Job, paths: Mapping[str, Path]) -> tuple[dict[str, np.ndarray], tuple[tuple[Path, str], ...]]:
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


def _cache_entry(job: Job, paths: Mapping[str, Path]) -> Path:
    """The cache file of exactly these images under exactly this code."""
    digest = hashlib.sha256(code_digest().encode())
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
