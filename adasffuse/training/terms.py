"""Loss terms as sums over samples, so that those of micro-batches and processes add up to those of the whole batch."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite


@dataclass
class Terms:
    """Sums of loss terms over samples, and numbers of samples, per part."""

    sums: Counter = field(default_factory=Counter)  # (part's label, term) to the sum over that part's samples
    counts: Counter = field(default_factory=Counter)  # part's label to its number of samples

    def add(self, other: "Terms") -> None:
        """Add the terms of further samples."""
        for mine, theirs in ((self.sums, other.sums), (self.counts, other.counts)):
            for key, value in theirs.items():  # Counter's own addition would drop negative sums
                mine[key] += value

    @property
    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return all(isfinite(value) for value in self.sums.values())

    def means(self) -> dict[str, float]:
        """'total' and each term; with several parts also those of each part, such as 'ivf/total' and 'ivf/ssim'.

        A term without a part is its sum over all samples divided by their number, so a part without the term counts as
        0 and the terms add up to the total.  A term of a part is the mean over the samples of the part.
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
    for part in terms:
        result.add(part)
    return result
