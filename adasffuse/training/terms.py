"""Loss terms of some samples, kept so that those of micro-batches and processes add up to the whole batch's."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite


@dataclass
class Terms:
    """Sums of loss terms over samples, and how many samples there were, part by part."""

    sums: Counter = field(default_factory=Counter)  # (part's label, term) to the sum over that part's samples
    counts: Counter = field(default_factory=Counter)  # part's label to its number of samples

    def add(self, other: "Terms") -> None:
        """Take in the terms of further samples."""
        for mine, theirs in ((self.sums, other.sums), (self.counts, other.counts)):
            for key, value in theirs.items():  # Counter's own addition would drop what is negative
                mine[key] += value

    @property
    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return all(isfinite(value) for value in self.sums.values())

    def means(self) -> dict[str, float]:
        """'total', each term, and, where there are several parts, 'ivf/total' and 'ivf/ssim' of each part.

        A term without a part is its sum over all samples divided by their number: the terms add up to the total, and
        a part that lacks a term counts with 0.  With a part it is the mean over the part's own samples.
        """
        overall, parts = Counter(), Counter()
        samples = sum(self.counts.values())
        for (label, term), value in self.sums.items():
            for name in ("total", term):
                overall[name] += value / samples
                parts[f"{label}/{name}"] += value / self.counts[label]
        return {**overall, **(parts if len(self.counts) > 1 else {})}


def merged(terms: Iterable[Terms]) -> Terms:
    """Terms of all samples together."""
    result = Terms()
    for some in terms:
        result.add(some)
    return result
