"""Facts about folders of images, their pairs and splits: for `adasffuse check` and bug reports."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import is_colorful, luminance
from adasffuse.images.folders import images_of
from adasffuse.images.formats import open_image
from adasffuse.images.image import Image, ImageError
from adasffuse.images.noise import noise_levels
from adasffuse.images.pairs import Scene, SceneProblem, find_scenes
from adasffuse.images.ranges import RangeSpec, is_thermal, resolve_range
from adasffuse.images.read import read_image
from adasffuse.messages import counted
from adasffuse.tasks import TASKS, Sources, Task

ALIKE = 0.985  # least correlation of the thumbnails of near-duplicates
_THUMBNAIL = 32  # pixels per side
_LEVEL = 1 / 255
_FLAT = 0.01  # thumbnails of a smaller standard deviation are not compared


@dataclass(frozen=True)
class Facts:
    """Facts about one image; luminance is on 0..255, the range of its values' window."""

    path: Path
    height: int
    width: int
    depth: str  # '8', '16' or 'float'
    colorful: bool
    mean: float
    contrast: float  # standard deviation
    black: float  # share of pixels at 0
    white: float  # share of pixels at full white
    sharpness: float  # mean magnitude of the Laplacian, where a pixel and its four neighbours hold data
    noise: float  # standard deviation of what `adasffuse.images.noise` takes for noise
    missing: float  # share of pixels without data
    thumbnail: ndarray  # (1024,), mean 0 and length 1; zeros of a flat image
    notices: tuple[str, ...] = ()


@dataclass
class SourceSurvey:
    """Facts about the files of one source."""

    folder: Path
    window: tuple[float, float] | None  # black and white of files of more than 8 bits; None: each file's own
    thermal: frozenset[Path] = frozenset()  # files that are read as thermal
    facts: list[Facts] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def read(self, path: Path) -> Image:
        """Read one of the files; raises ImageError."""
        thermal = path in self.thermal
        with open_image(path, thermal) as file:
            deep = file.depth != "8"
        return read_image(path, self.window if deep else None, thermal=thermal)


@dataclass
class Survey:
    """Facts about a data set, one folder, or any two folders."""

    name: str
    task: Task | None
    sources: list[SourceSurvey]
    scenes: list[Scene] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # reasons why images cannot be fused or scores are wrong
    notices: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[Facts, ...]]:
        """Facts of the scenes whose files could all be read."""
        by_path = [{facts.path: facts for facts in source.facts} for source in self.sources]
        pairs = []
        for scene in self.scenes:
            pair = [known.get(path) for known, path in zip(by_path, scene.paths)]
            if all(facts is not None for facts in pair):
                pairs.append(tuple(pair))
        return pairs


def survey_folders(
    folders: Sequence[Path],
    name: str,
    task: Task | None = None,
    patterns: Sequence[str | None] | None = None,
    within: float | None = None,
) -> Survey:
    """Survey all images of one folder, or of the folders of several sources.

    Args:
        folders: one per source, or a single folder of images.
        name: name of the survey.
        task: task of the sources, if known.
        patterns, within: as in `adasffuse.images.pairs.find_scenes`.
    Raises:
        ImageError: a folder is missing or holds no image, or no file has a partner.
    """
    scenes, problems = find_scenes(folders, patterns, within=within)
    survey = Survey(name, task, [], scenes)
    survey.problems += [problem.reason for problem in problems if not problem.harmless]
    survey.notices += [problem.reason for problem in problems if problem.harmless]
    known_thermal = task.thermal if task else None
    if task is None and len(folders) == 1:
        known_thermal = ()  # a single folder belongs to no source
    for number, folder in enumerate(folders):
        paths = [scene.paths[number] for scene in scenes]
        paths += _unpaired(folder, problems)
        thermal = frozenset(path for path in paths if is_thermal(number, path, known_thermal))
        survey.sources.append(_look_at(folder, paths, thermal))
    for source in survey.sources:
        survey.problems += source.unreadable
    if len(folders) > 1:
        _compare_pairs(survey)
    return survey


def _look_at(folder: Path, paths: Sequence[Path], thermal: frozenset[Path]) -> SourceSurvey:
    """Facts of the files of a source; those in `thermal` are read as thermal."""
    source = SourceSurvey(folder, resolve_range(RangeSpec("folder"), paths, thermal=bool(thermal)), thermal)
    for path in paths:
        try:
            source.facts.append(facts_of(path, source.read(path)))
        except ImageError as error:
            source.unreadable.append(str(error))
    return source


def _unpaired(folder: Path, problems: Iterable[SceneProblem]) -> list[Path]:
    """Images of a folder that have no partner, or several."""
    stems = {problem.name for problem in problems if not problem.harmless}
    return [path for path in images_of(folder) if path.stem in stems]


def facts_of(path: Path, image: Image) -> Facts:
    """Facts of an image."""
    luma = luminance(image.pixels)
    valid = image.valid if image.valid is not None else np.ones(luma.shape, bool)
    used = luma[valid] if valid.any() else luma.ravel()
    thumbnail = _thumbnail(luma, valid)
    centred = (thumbnail - thumbnail.mean()).astype(np.float32)
    length = float(np.linalg.norm(centred))
    flat = length < _FLAT * _THUMBNAIL
    return Facts(
        path,
        *luma.shape,
        depth=image.depth,
        colorful=is_colorful(image.pixels),
        mean=255 * float(used.mean()),
        contrast=255 * float(used.std()),
        black=float(np.mean(used < _LEVEL / 2)),
        white=float(np.mean(used > 1 - _LEVEL / 2)),
        sharpness=255 * _sharpness(luma, valid),
        noise=255 * float(np.linalg.norm(noise_levels(np.where(valid, luma, np.float32(0))))),
        missing=1 - float(valid.mean()),
        thumbnail=centred * 0 if flat else centred / length,
        notices=tuple(notice.removeprefix(f"{path}: ") for notice in image.notices),
    )


def _thumbnail(luma: ndarray, valid: ndarray) -> ndarray:
    """(1024,) means of valid pixels; the mean of all valid pixels where there is none."""
    size = (_THUMBNAIL, _THUMBNAIL)
    if valid.all():
        return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).ravel()
    known = valid.astype(np.float32)
    values, shares = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (luma * known, known))
    mean = luma[valid].mean() if valid.any() else np.float32(0)
    return np.divide(values, shares, out=np.full_like(values, mean), where=shares > 1e-3).ravel()


def _sharpness(luma: ndarray, valid: ndarray) -> float:
    slopes = np.abs(cv2.Laplacian(luma, cv2.CV_32F))
    if valid.all():
        return float(slopes.mean())
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    whole = cv2.erode(valid.astype(np.uint8), cross).astype(bool)
    return float(slopes[whole].mean()) if whole.any() else 0.0


def _compare_pairs(survey: Survey) -> None:
    """Note sizes that differ, sources that are equal, and sources that seem to be swapped."""
    pairs = survey.pairs
    for pair in pairs:
        if len({(facts.height, facts.width) for facts in pair}) > 1:
            sizes = " and ".join(f"{facts.path.name} {facts.width}x{facts.height}" for facts in pair)
            survey.problems.append(f"sizes differ: {sizes}; register them to one size, or fuse with --align")
    if pairs and all(np.array_equal(pair[0].thumbnail, pair[1].thumbnail) for pair in pairs):
        survey.problems.append("both sources hold the same images")
    if survey.task is not None and survey.task.id == "mef":
        wrong = [pair for pair in pairs if pair[0].mean > pair[1].mean]
        if wrong:
            names = ", ".join(pair[0].path.stem for pair in wrong[:5])
            survey.notices.append(
                f"{len(wrong)} of {counted(len(pairs), 'pair')} have the brighter image in "
                f"{survey.sources[0].folder.name}: "
                f"{names}; the order does not matter for fusing"
            )
    if survey.task is not None and any(survey.task.thermal):
        found = infrared_source(survey)
        expected = survey.task.thermal.index(True)
        if found is not None and found != expected:
            survey.problems.append(
                f"the infrared images seem to be in {survey.sources[found].folder}: the images in "
                f"{survey.sources[expected].folder} have colour; swap the folders"
            )


def infrared_source(survey: Survey) -> int | None:
    """Number of the source that seems to be the infrared one, being gray while the other has colour; else None."""
    if len(survey.sources) != 2 or not all(source.facts for source in survey.sources):
        return None
    shares = [np.mean([facts.colorful for facts in source.facts]) for source in survey.sources]
    if min(shares) < 0.1 and max(shares) > 0.5:
        return int(np.argmin(shares))
    return None


def sharper_share(survey: Survey) -> float | None:
    """Share of pairs whose first image is the sharper one, None without pairs."""
    pairs = survey.pairs
    return float(np.mean([pair[0].sharpness > pair[1].sharpness for pair in pairs])) if pairs else None


def near_duplicates(one: Sequence[Facts], other: Sequence[Facts] | None = None) -> list[tuple[Facts, Facts, float]]:
    """Pairs of images that look alike, also mirrored, with the correlation of their thumbnails of 32 x 32 pixels.

    Args:
        one, other: every image of `one` is compared with every image of `other`; None: with the others of `one`.
    """
    if not one or not (other or other is None):
        return []
    first = np.stack([facts.thumbnail for facts in one])
    second = first if other is None else np.stack([facts.thumbnail for facts in other])
    mirrored = second.reshape(-1, _THUMBNAIL, _THUMBNAIL)[..., ::-1].reshape(second.shape)
    alike = np.maximum(first @ second.T, first @ mirrored.T)
    if other is None:
        alike = np.triu(alike, k=1)
    columns = one if other is None else other
    return [(one[i], columns[j], float(alike[i, j])) for i, j in zip(*np.nonzero(alike > ALIKE))]


def data_sets(root: Path) -> list[tuple[str, Task, tuple[Path, ...]]]:
    """Data sets at or below a folder, at most two levels deep: name, task and folders of the sources."""
    found = []
    places = [root, *_folders(root), *itertools.chain.from_iterable(map(_folders, _folders(root)))]
    for place in dict.fromkeys(places):
        for task in TASKS.values():
            for folders in dict.fromkeys(_source_folders(place, source) for source in task.sources):
                known = {paths for _, _, paths in found}
                if folders not in known and all(folder.is_dir() for folder in folders):
                    name = folders[0].parent.relative_to(root).as_posix()
                    found.append((root.name if name == "." else name, task, folders))
    return found


def _source_folders(place: Path, source: Sources) -> tuple[Path, ...]:
    return tuple(place / source.subset / folder for folder in source.folders)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def table(survey: Survey) -> list[tuple[str, ...]]:
    """Rows of text: a title, then a cell for each source."""
    rows = [("", *(source.folder.name for source in survey.sources))]

    def add(title: str, cell: Callable[[Sequence[Facts]], str]) -> None:
        rows.append((title, *(cell(source.facts) if source.facts else "-" for source in survey.sources)))

    def spread_of(attribute: str, form: str) -> Callable[[Sequence[Facts]], str]:
        return lambda facts: _spread([getattr(one, attribute) for one in facts], form)

    def mean_share_of(attribute: str) -> Callable[[Sequence[Facts]], str]:
        return lambda facts: f"{100 * np.mean([getattr(one, attribute) for one in facts]):.1f} %"

    add("files", lambda facts: str(len(facts)))
    add("kinds", lambda facts: each_counted(f.path.suffix.lower() for f in facts))
    add("width x height", _sizes)
    add("depth", lambda facts: each_counted({"8": "8 bits", "16": "16 bits"}.get(f.depth, f.depth) for f in facts))
    add("colour", lambda facts: each_counted("colour" if f.colorful else "gray" for f in facts))
    rows.append(("values, black to white", *(_window(source) for source in survey.sources)))
    add("mean luminance", spread_of("mean", "{:.0f}"))
    add("contrast (SD)", spread_of("contrast", "{:.0f}"))
    add("sharpness", spread_of("sharpness", "{:.1f}"))
    add("noise", spread_of("noise", "{:.1f}"))
    add("at black", mean_share_of("black"))
    add("at white", mean_share_of("white"))
    add("no data", mean_share_of("missing"))
    return rows


def _sizes(facts: Sequence[Facts]) -> str:
    sizes = Counter((one.width, one.height) for one in facts)
    if len(sizes) == 1:
        width, height = next(iter(sizes))
        return f"{width}x{height}"
    ordered = sorted(sizes, key=math.prod)
    return f"{len(sizes)} sizes, {ordered[0][0]}x{ordered[0][1]} to {ordered[-1][0]}x{ordered[-1][1]}"


def _window(source: SourceSurvey) -> str:
    return "0 to 255" if source.window is None else f"{source.window[0]:g} to {source.window[1]:g} (lowest, highest)"


def _spread(values: Sequence[float], form: str) -> str:
    """'median (lowest to highest)', each number in a format such as '{:.0f}'."""
    middle, low, high = (form.format(f(values)) for f in (np.median, np.min, np.max))
    return f"{middle} ({low} to {high})"


def each_counted(words: Iterable[str]) -> str:
    """'colour 12, gray 3'."""
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())
