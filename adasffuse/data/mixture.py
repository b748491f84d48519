"""Samples of a run of several parts: which part gives which sample, and the sample itself."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from torch import Tensor
from torch.utils.data import Dataset

from adasffuse.data.crops import TrainingCrops
from adasffuse.data.options import DataOptions
from adasffuse.images.read import ImageError
from adasffuse.tasks import TASKS


class Part(Protocol):
    """What a part of a run says about its samples."""

    task: str  # id of the task
    data: DataOptions
    weight: float  # its share of the samples, relative to the other parts'


class MixedCrops(Dataset):
    """Endless training samples of all parts, numbered 0, 1, 2, ...: sample n is the same whoever draws it.

    `turn` says which part gives sample n.  A sample is that of `TrainingCrops` and 'part', the number of its part.
    `validation` holds the held-out pairs of all parts, each with its part's number, `notices` what is used of their
    images, but perhaps not as it was meant.

    Raises:
        ImageError: something is wrong with the images of some parts; lists everything.
    """

    def __init__(self, parts: Sequence[Part], seed: int = 0) -> None:
        self.parts, problems = [], []
        passing = any(part.data.passing for part in parts)  # all samples of a batch have the same arrays
        for number, part in enumerate(parts):
            try:
                self.parts.append(TrainingCrops(part.data, seed, number, TASKS[part.task].jitter, passing))
            except ImageError as error:
                problems.append(str(error))
        if problems:
            raise ImageError("\n".join(problems))
        self.notices = list(dict.fromkeys(notice for part in self.parts for notice in part.notices))
        self.validation = [(number, pair) for number, part in enumerate(self.parts) for pair in part.validation]
        total = sum(Fraction(part.weight) for part in parts)
        self.shares = [Fraction(part.weight) / total for part in parts]

    def __getitem__(self, n: int) -> dict[str, Tensor | str | int]:
        part, k = turn(n, self.shares)
        return {**self.parts[part][k], "part": part}


def turn(n: int, shares: Sequence[Fraction]) -> tuple[int, int]:
    """The part that gives sample n of the run, and which of that part's own samples it is, both counted from 0.

    Sample k of a part with share s is due at (k + 1/2) / s, and all samples come in the order in which they are due
    (Webster's method), so that any stretch of samples, a batch for one, holds the parts in nearly their shares.

    Args:
        shares: positive, of sum 1; exact, so that ties break the same everywhere: the earlier part comes first.
    """
    start = max(0, n - len(shares))  # by then at most n samples are due: every part's count is off by 1/2 at most
    counts = [int(start * share + Fraction(1, 2)) for share in shares]  # due at `start` or before
    while True:
        due = [(count + Fraction(1, 2)) / share for count, share in zip(counts, shares)]
        part = min(range(len(shares)), key=due.__getitem__)
        if sum(counts) == n:
            return part, counts[part]
        counts[part] += 1
