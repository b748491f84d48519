"""Images and labels of one modality at the size that a network is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from adasffuse.downstream.classes import IGNORED, ClassList
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.images.color import as_rgb
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, expected by pre-trained weights
_KEPT_BYTES = 2 << 30
_VISIBLE_SHARE = 0.3  # least share of a box's area that must remain after augmentation
_SCALES, _SHIFT, _GAIN, _OFFSET = (0.8, 1.3), 0.1, 0.2, 0.1  # ranges of augmentation


@dataclass(frozen=True)
class Sample:
    """One image with its label, at the training size."""

    image: Tensor  # (3, H, W) float32, normalised
    mask: Tensor | None  # (H, W) int64, of segmentation
    boxes: Tensor  # (N, 4) float32: left, top, right, bottom in pixels
    classes: Tensor  # (N,) int64


class Samples(Dataset):
    """The frames of a split in one modality, with random augmentation in every epoch.

    Random draws are keyed on seed, epoch and the frame's number: they are the same for all modalities and in a resumed
    run.  Images are kept in memory at the training size, up to 2 GiB.

    Args:
        frames: with boxes or masks.
        files: stem to image.
        size: height, width in pixels.
        seed: seed of the augmentation; None: no augmentation.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        files: Mapping[str, Path],
        classes: ClassList,
        size: tuple[int, int],
        seed: int | None,
    ) -> None:
        self.frames, self.files, self.classes, self.size, self.seed = list(frames), files, classes, size, seed
        self.epoch = 0
        self._kept: dict[int, tuple[ndarray, ndarray | None]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        if index in self._kept:
            image, mask = self._kept[index]
        else:
            image, mask = self._read(frame)
            if len(self._kept) * image.nbytes < _KEPT_BYTES:
                self._kept[index] = image, mask
        height, width = self.size
        scale = (width / frame.size[1], height / frame.size[0])
        boxes = np.float32([(b.left, b.top, b.right, b.bottom) for b in frame.boxes.boxes] if frame.boxes else [])
        boxes = boxes.reshape(-1, 2, 2) * np.float32(scale)
        numbers = np.int64([self.classes.number(b.name) for b in frame.boxes.boxes] if frame.boxes else [])
        pixels = image.astype(np.float32) / 255
        if self.seed is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            matrix = _drawn_matrix(rng, self.size)
            pixels = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            pixels = pixels * rng.uniform(1 - _GAIN, 1 + _GAIN) + rng.uniform(-_OFFSET, _OFFSET)
            if mask is not None:
                mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORED)
            boxes, kept = _moved(boxes, matrix, self.size)
            numbers = numbers[kept]
        normal = (pixels.clip(0, 1) - np.float32(MEAN)) / np.float32(DEVIATION)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)),
            None if mask is None else torch.from_numpy(mask.astype(np.int64)),
            torch.from_numpy(boxes.reshape(-1, 4)),
            torch.from_numpy(numbers),
        )

    def _read(self, frame: Frame) -> tuple[ndarray, ndarray | None]:
        height, width = self.size
        pixels = as_rgb(quantise(read_image(self.files[frame.stem]).pixels, "8"))
        image = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        if frame.mask is None:
            return image, None
        return image, cv2.resize(mask_of(frame, self.classes), (width, height), interpolation=cv2.INTER_NEAREST)


def _drawn_matrix(rng: np.random.Generator, size: tuple[int, int]) -> ndarray:
    """An affine matrix (2, 3): random scale and shift, mirrored half of the time."""
    height, width = size
    scale = rng.uniform(*_SCALES)
    mirrored = -scale if rng.random() < 0.5 else scale
    shift = rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    center = np.array([width - 1, height - 1]) / 2
    return np.float64(
        [[mirrored, 0, center[0] * (1 - mirrored) + shift[0]], [0, scale, center[1] * (1 - scale) + shift[1]]]
    )


def _moved(boxes: ndarray, matrix: ndarray, size: tuple[int, int]) -> tuple[ndarray, ndarray]:
    """Boxes (N, 2, 2) after an affine map, cut at the border, and a mask of those that remain."""
    height, width = size
    # Edges count from the image's border, the matrix from the first pixel's centre.
    ends = (boxes - 0.5) @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32) + 0.5
    ends = np.sort(ends, axis=1)
    area = np.prod(ends[:, 1] - ends[:, 0], axis=1)
    ends = ends.clip(0, np.float32([width, height]))
    sides = ends[:, 1] - ends[:, 0]
    kept = (np.prod(sides, axis=1) > _VISIBLE_SHARE * area) & (sides.min(axis=1, initial=np.inf) >= 2)
    return ends[kept].astype(np.float32), kept


def joined(samples: Sequence[Sample]) -> tuple[Tensor, list[Sample]]:
    """A batch: images (B, 3, H, W), and the samples for their labels."""
    return torch.stack([sample.image for sample in samples]), list(samples)
