"""Training samples of a run with several parts, mixed by the parts' weights."""

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
    """The options of a part of a run that concern its samples."""

    task: str  # id of the task
    data: DataOptions
    weight: float  # its share of the samples, relative to the other parts'


class MixedCrops(Dataset):
    """Endless training samples of all parts, numbered 0, 1, 2, ...: sample n is the same in every process and worker.

    A sample is one of `TrainingCrops` with 'part', the number of its part, which is chosen by `place_of_sample`.
    Attributes:
        validation: the held-out pairs of all parts, each with the number of its part.
        notices: about images that are used, but perhaps not as intended.
    Raises:
        ImageError: images of some parts are missing or unusable; the message lists all problems.
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
            raise ImageError("\n  ".join(problems))
        self.notices = list(dict.fromkeys(notice for part in self.parts for notice in part.notices))
        self.validation = [(number, pair) for number, part in enumerate(self.parts) for pair in part.validation]
        total = sum(Fraction(part.weight) for part in parts)
        self.shares = [Fraction(part.weight) / total for part in parts]

    def __getitem__(self, n: int) -> dict[str, Tensor | str | int]:
        part, k = place_of_sample(n, self.shares)
        return {**self.parts[part][k], "part": part}


def place_of_sample(n: int, shares: Sequence[Fraction]) -> tuple[int, int]:
    """The part that gives sample n of the run, and the number of the sample within that part, both from 0.

    Sample k of a part with share s is due at (k + 1/2) / s, and samples come in the order of these times (Webster's
    method), so any run of successive samples, such as a batch, holds the parts in nearly their shares.

    Args:
        shares: positive, of sum 1; exact, so that ties are the same everywhere: the earlier part comes first.
    """
    start = max(0, n - len(shares))  # at this time at most n samples are due, since each count is off by at most 1/2
    counts = [int(start * share + Fraction(1, 2)) for share in shares]  # samples of each part due by `start`
    while True:
        due = [(count + Fraction(1, 2)) / share for count, share in zip(counts, shares)]
        part = min(range(len(shares)), key=due.__getitem__)
        if sum(counts) == n:
            return part, counts[part]
        counts[part] += 1
