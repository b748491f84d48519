"""Training samples: aligned random crops of the luminance of pairs, and focus pairs made from sharp photographs."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from adasffuse.color import luminance
from adasffuse.data.pairs import Pair, find_pairs, pair_folders, read_pair
from adasffuse.data.synthesis import defocus_pair, unequal_brightness
from adasffuse.images import IMAGE_SUFFIXES, ImageError, read_image
from adasffuse.options import DataOptions

_MARGIN = 16  # pixels around a crop of a sharp photograph, so that its synthetic blur is right up to the border


@dataclass(frozen=True)
class LumaPair:
    """Luminance of a pair, (H, W) uint8 each: decoded once, kept for the whole run."""

    name: str
    a: np.ndarray
    b: np.ndarray


class TrainingCrops(Dataset):
    """Endless training samples, numbered 0, 1, 2, ...: sample n is the same whoever draws it.

    An epoch visits every training pair once in an order keyed on (seed, epoch); crop, flips and quarter turns are
    keyed on (seed, epoch, pair).  With sharp photographs, a share of the samples is made from one of them instead.

    A sample is a dict of float32 tensors in [0, 1]: 'a', 'b' and 'truth', each (1, crop, crop), truth NaN where it is
    unknown, and 'name'.

    Raises:
        ImageError: a folder is missing, pairs do not match, files cannot be read, or nothing is left; lists all.
    """

    def __init__(self, options: DataOptions, seed: int = 0, part: int = 0) -> None:
        self.crop, self.seed = options.crop, seed
        self.stream = (part,) if part else ()  # end of every key, so that parts of a run draw independently
        self.share, self.difference, self.radius = options.sharp_share, options.sharp_difference, options.sharp_radius
        pairs, self.validation = load_pairs(options)
        self.pairs = pairs
        self.sharp = load_sharp(options) if options.sharp_folder else []
        self._order: tuple[int, np.ndarray] = (-1, np.arange(0))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, n: int) -> dict[str, Tensor | str]:
        epoch, position = divmod(n, len(self))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch, *self.stream]).permutation(len(self))
        index = int(self._order[1][position])
        rng = np.random.default_rng([self.seed, epoch, index, *self.stream])
        if self.sharp and rng.random() < self.share:
            name, photo = self.sharp[rng.integers(len(self.sharp))]
            (window,) = random_crop([photo], self.crop + 2 * _MARGIN, rng)
            a, b, truth = defocus_pair(window, rng, radius=(1.0, self.radius))
            images = [*unequal_brightness(a, b, self.difference, rng), truth]
            images = [t[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] for t in images]
        else:
            pair = self.pairs[index]
            name = pair.name
            images = random_crop([pair.a, pair.b], self.crop, rng)
            images.append(np.full_like(images[0], np.nan))
        a, b, truth = (torch.from_numpy(np.ascontiguousarray(t, dtype=np.float32))[None] for t in images)
        return {"a": a, "b": b, "truth": truth, "name": name}


class StepSampler(Sampler[list[int]]):
    """Sample numbers of one rank's share of each update, from update `start` on: any world size draws the same set.

    Raises:
        ValueError: the processes do not divide the batch.
    """

    def __init__(self, batch_size: int, start: int, steps: int, rank: int = 0, world: int = 1) -> None:
        if batch_size % world:
            raise ValueError(f"train.batch_size {batch_size} must be a multiple of the {world} processes")
        self.batch_size, self.start, self.steps = batch_size, start, steps
        self.share = batch_size // world
        self.offset = rank * self.share

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            first = step * self.batch_size + self.offset
            yield list(range(first, first + self.share))


def load_pairs(options: DataOptions) -> tuple[list[LumaPair], list[LumaPair]]:
    """Training and validation pairs of all data sets; every problem is found before anything is trained."""
    training, validation, problems = [], [], []
    for dataset in options.datasets:
        for folder in pair_folders(options.root_path, dataset):
            pairs, unmatched = find_pairs(folder.folder_a, folder.folder_b)
            problems += [problem.reason for problem in unmatched]
            for pair in pairs:
                try:
                    images = _luma_pair(pair, f"{folder.name}/{pair.stem}")
                except ImageError as error:
                    problems.append(str(error))
                    continue
                held = any(fnmatch(pair.stem, pattern) for pattern in options.validation)
                (validation if held else training).append(images)
    if problems:
        raise ImageError(f"{len(problems)} problems in the training data:\n  " + "\n  ".join(problems))
    if not training:
        raise ImageError(f"no training pair is left in {options.root_path} after data.validation took its share")
    return training, validation


def load_sharp(options: DataOptions) -> list[tuple[str, np.ndarray]]:
    """Names and luminance (H, W) uint8 of the photographs in `sharp_folder`, less the excluded ones."""
    folder = Path(options.root_path, options.sharp_folder)
    if not folder.is_dir():
        raise ImageError(f"data.sharp_folder {folder} is not a folder")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
    kept = [f for f in files if not any(fnmatch(f.stem, p) for p in options.sharp_exclude + options.validation)]
    if not kept:
        raise ImageError(f"data.sharp_folder {folder} holds no photograph that sharp_exclude lets through")
    return [(f"{folder.name}/{f.stem}", _to_bytes(luminance(read_image(f).pixels))) for f in kept]


def random_crop(images: list[np.ndarray], size: int, rng: np.random.Generator) -> list[np.ndarray]:
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


def _luma_pair(pair: Pair, name: str) -> LumaPair:
    a, b = read_pair(pair)
    return LumaPair(name, _to_bytes(luminance(a.pixels)), _to_bytes(luminance(b.pixels)))


def _to_bytes(luma: np.ndarray) -> np.ndarray:
    return np.rint(luma * 255).astype(np.uint8)
