"""Training samples: random crops of the luminance of pairs, and pairs made from sharp photographs."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from adasffuse.data.heldout import MARGIN, HeldOut, held_out_exposures, held_out_focus, held_out_pair
from adasffuse.data.luma import LumaCache, LumaFiles, lumas_of, read_images, readings_of
from adasffuse.data.options import DataOptions
from adasffuse.data.synthesis import (
    JITTER_KINDS,
    defocus_pair,
    exposure_pair,
    jitter,
    passer_by,
    unequal_brightness,
)
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.notices import folder_notices, notices_of_files, summarize_scene, window_notices
from adasffuse.images.pairs import Scene, SceneError, find_scenes
from adasffuse.images.ranges import parse_range
from adasffuse.images.read import IMAGE_SUFFIXES, ImageError
from adasffuse.messages import counted
from adasffuse.scenes.glare import add_glare
from adasffuse.tasks import find_task

_FLAT = "a flat frame, which shows the network nothing"
_LAYOUT = (
    "where files of a pair have different names, say how in data.pattern_a and data.pattern_b; folders have the names "
    "of their task: rename or link them"
)
_ROOT = "the folder that holds the data sets is data.root_path, or --root_path"


class TrainingCrops(Dataset):
    """Endless training samples, numbered 0, 1, 2, ...: sample n is the same in every process and worker.

    An epoch visits every training pair once in an order keyed on (seed, part, epoch); crop, flips and quarter turns are
    keyed on (seed, part, epoch, pair).  With photographs, a share of the samples is made from one of them instead;
    without pairs, an epoch has as many samples as there are photographs.

    A sample is a dict with 'name' and float32 tensors (1, crop, crop) in [0, 1]:
        a, b: the sources.
        truth: the ideal result, NaN if unknown.
        shown_b: what the network gets for b: b itself, or b with glare.
        before_a, before_b: only with `passing`: a and shown_b before a hot object passed.
        elsewhere: only with `passing`: 1 away from the object, 0 at it; 0 everywhere if nothing passes.

    Args:
        part: number of the part of a run; each part has random draws of its own.
        allowed: the kinds of photometric jitter that the task allows, see `synthesis.jitter`.
        passing: also return the tensors of `data.passing` if that is 0, because another part has them.
    Raises:
        ImageError: a folder is missing, pairs do not match, files cannot be read, or nothing is left; the message lists
            all problems.
    """

    def __init__(
        self,
        options: DataOptions,
        seed: int = 0,
        part: int = 0,
        allowed: tuple[str, ...] = JITTER_KINDS,
        passing: bool = False,
    ) -> None:
        self.options, self.key, self.allowed = options, (seed, part), allowed
        self.passing = passing or options.passing > 0
        self.share = options.sharp_share or options.exposures  # share of samples made from photographs
        cache = LumaCache(options.cache_mb)
        self.notices: list[str] = []  # about images that are used, but perhaps not as intended
        self.pairs, self.validation = load_pairs(options, cache, self.notices)
        self.sharp, held = load_sharp(options, cache, self.notices) if options.sharp_folder else ([], [])
        self.validation += held
        stems = [pair.name.rsplit("/", 1)[-1] for pair in self.validation]
        names = "what stands for '*' in data.pattern_a" if any(options.patterns) else "stems, without folder and suffix"
        self.notices[:0] = [
            f"data.validation: {pattern} holds no image out; names are {names}"
            for pattern in options.validation
            if not any(_matches(stem, (pattern,)) for stem in stems)
        ]
        self._order: tuple[int, np.ndarray] = (-1, np.arange(0))

    def __len__(self) -> int:
        return len(self.pairs) or len(self.sharp)

    def __getitem__(self, n: int) -> dict[str, Tensor | str]:
        epoch, position = divmod(n, len(self))
        if self._order[0] != epoch:
            order = np.random.default_rng([*self.key, epoch]).permutation(len(self))
            self._order = epoch, order
        index = int(self._order[1][position])
        # not `index`: NumPy takes a key that ends in 0 for one without it, which is that of the order
        rng = np.random.default_rng([*self.key, epoch, index + 1])
        if self.sharp and rng.random() < self.share:
            photo = self.sharp[rng.integers(len(self.sharp))]
            name, (a, b, truth) = photo.name, self._made(photo.images()[0], rng)
        else:
            pair = self.pairs[index]
            name, (a, b) = pair.name, self._cut(pair.images(), rng)
            if self.options.dim and rng.random() < self.options.dim:
                a = a * np.float32(rng.uniform(0.2, 0.7))
            truth = np.full_like(a, np.nan)
        if self.options.jitter:
            a, b, truth = jitter([a, b, truth], self.options.jitter, self.allowed, rng)
        shown_b = b
        if self.options.glare and rng.random() < self.options.glare:
            if rng.random() < 0.5:
                b = b * np.float32(rng.uniform(0.1, 0.5))
            shown_b = add_glare(np.ascontiguousarray(b), rng)[0]
        before_a, before_b, elsewhere = a, shown_b, np.zeros_like(a)
        if self.options.passing and np.isnan(truth[0, 0]) and rng.random() < self.options.passing:
            (a, b, shown_b), elsewhere = passer_by([a, b, shown_b], rng)
        arrays = {"a": a, "b": b, "truth": truth, "shown_b": shown_b}
        if self.passing:
            arrays |= {"before_a": before_a, "before_b": before_b, "elsewhere": elsewhere}
        tensors = {key: torch.from_numpy(np.ascontiguousarray(t, dtype=np.float32))[None] for key, t in arrays.items()}
        return {**tensors, "name": name}

    def _cut(self, pair: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The same random window of both images, at a random enlargement."""
        size = self.options.crop
        if self.options.zoom == 1:
            return random_crop(pair, size, rng)
        window = random_crop(pair, round(size / rng.uniform(1, self.options.zoom)), rng)
        return [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1) for image in window]

    def _made(self, photo: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """A, B and the truth, made from a random window of a photograph."""
        options = self.options
        if options.exposures:
            (window,) = random_crop([photo], options.crop, rng)
            low, over, truth = exposure_pair(window, rng)
            return [low, over, truth if options.exposures_truth else np.full_like(truth, np.nan)]
        (window,) = random_crop([photo], options.crop + 2 * MARGIN, rng)
        a, b, truth = defocus_pair(window, rng, radius=(1.0, options.sharp_radius))
        images = [*unequal_brightness(a, b, options.sharp_difference, rng), truth]
        return [t[MARGIN:-MARGIN, MARGIN:-MARGIN] for t in images]


class StepSampler(Sampler[list[int]]):
    """Sample numbers of one rank for each update, from update `start` on; all ranks together draw the same samples.

    Raises:
        ValueError: the processes, or the micro-batches of each, do not divide the batch.
    """

    def __init__(
        self, batch_size: int, start: int, steps: int, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        if batch_size % (world * accumulate):
            micro = f" times train.accumulate {accumulate}" if accumulate > 1 else ""
            raise ValueError(f"train.batch_size {batch_size} must be a multiple of the {world} processes{micro}")
        self.batch_size, self.start, self.steps = batch_size, start, steps
        self.share = batch_size // world
        self.offset = rank * self.share

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            first = step * self.batch_size + self.offset
            yield list(range(first, first + self.share))


def load_pairs(options: DataOptions, cache: LumaCache, notices: list[str]) -> tuple[list[LumaFiles], list[HeldOut]]:
    """Training and validation pairs of all data sets.

    Adds to `notices` files that are left out, such as labels, and images that may not be what was intended.

    Raises:
        ImageError: with all problems of all data sets.
    """
    training, validation, problems = [], [], []
    for dataset in options.datasets:
        try:
            folders = scene_folders(options.root_path, dataset)
            found = [(folder, *find_scenes(folder.folders, options.patterns)) for folder in folders]
        except SceneError as error:
            found_here = Path(options.root_path).is_dir() and error.root is None
            problems.append(f"{error}; {_LAYOUT if found_here else _ROOT}")
            continue
        for folder, pairs, unmatched in found:
            problems += [problem.reason for problem in unmatched if not problem.harmless]
            notices += [problem.reason for problem in unmatched if problem.harmless]
            task, seen, flat = find_task(dataset), [], []
            readings = readings_of(options, [pair.paths for pair in pairs], task)
            for pair in pairs:
                name, paths = f"{folder.name}/{pair.stem}", pair.paths
                try:
                    images = read_images(paths, readings)
                except ImageError as error:
                    problems.append(str(error))
                    continue
                seen.append(summarize_scene(pair, images))
                lumas = lumas_of(images)
                flat += [(path, _FLAT) for path, luma in zip(paths, lumas) if luma.min() == luma.max()]
                if _matches(pair.stem, options.validation):
                    validation.append(held_out_pair(name, paths, *lumas))
                else:
                    training.append(cache.keep(name, paths, lumas, readings))
            specs = [parse_range(words or None) for words in (options.range_a, options.range_b)]
            notices += window_notices(folder.folders, specs, [reading.window for reading in readings])
            notices += notices_of_files(flat) + folder_notices(task, folder.folders, seen)
    _raise_all(problems)
    if options.datasets and not training:
        raise ImageError(f"no training pair is left in {options.root_path} after data.validation took its share")
    return training, validation


def load_sharp(options: DataOptions, cache: LumaCache, notices: list[str]) -> tuple[list[LumaFiles], list[HeldOut]]:
    """Photographs of `sharp_folder` for training, and pairs made from those held out; without the excluded ones.

    Adds to `notices` images that may not be what was intended.

    Raises:
        ImageError: with all problems of the folder.
    """
    folder = Path(options.root_path, options.sharp_folder)
    if not folder.is_dir():
        raise ImageError(f"data.sharp_folder {folder} is not a folder")
    training, validation, problems, of_files = [], [], [], []
    for file in sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()):
        if _matches(file.stem, options.sharp_exclude):
            continue
        try:
            images = read_images((file,))
        except ImageError as error:
            problems.append(str(error))
            continue
        of_files += summarize_scene(Scene(file.stem, (file,)), images).notices
        name, lumas = f"{folder.name}/{file.stem}", lumas_of(images)
        if not _matches(file.stem, options.validation):
            training.append(cache.keep(name, (file,), lumas))
        elif options.sharp_share:
            validation.append(held_out_focus(name, file, *lumas, len(validation), options.sharp_radius))
        elif options.exposures:
            validation.append(held_out_exposures(name, file, *lumas, len(validation), options.exposures_truth))
    notices += notices_of_files(of_files)
    _raise_all(problems)
    if not training:
        raise ImageError(f"data.sharp_folder {folder} has no photograph left after sharp_exclude and validation")
    return training, validation


def random_crop(images: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The same random square of (H, W) uint8 images with the same flips and quarter turns, float32 in [0, 1].

    Images smaller than the square are extended by reflection.
    """
    height, width = images[0].shape
    top, left = (int(rng.integers(max(1, side - size + 1))) for side in (height, width))
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    crops = []
    for image in images:
        crop = image[top : top + size, left : left + size]
        if crop.shape != (size, size):
            crop = np.pad(crop, [(0, size - side) for side in crop.shape], mode="symmetric")
        crop = np.rot90(crop, turns)
        crops.append((crop[:, ::-1] if flip else crop).astype(np.float32) / 255)
    return crops


def _matches(stem: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(stem, pattern) for pattern in patterns)


def _raise_all(problems: list[str]) -> None:
    if problems:
        count = counted(len(problems), "problem")
        raise ImageError(f"{count} in the training data:\n  " + "\n  ".join(problems))
