"""Fusing a folder of pairs: one bad pair never stops the rest.

While the network works on one pair, a thread reads the next and another colours and writes the one before.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from adasffuse.color import luminance
from adasffuse.data.pairs import Pair, PairFolder, find_pairs, read_pair
from adasffuse.images import folder_range, write_png
from adasffuse.inference.fuser import Fuser, as_unit_range

_AHEAD = 1  # pairs that are read before, or wait to be written after, the one that is fused


@dataclass
class FolderReport:
    """What became of a folder of pairs."""

    name: str
    save_dir: Path
    network: str  # precision and device of the network
    fused: list[Pair] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    notices: list[str] = field(default_factory=list)
    ranges: tuple[tuple[float, float] | None, ...] = (None, None)  # values read as black and white, of A and B
    seconds: float = 0.0  # spent on reading, fusing and writing

    @contextmanager
    def blaming(self, pair: Pair) -> Iterator[None]:
        """Errors of this pair are noted and shown, and end nothing else."""
        try:
            yield
        except (ValueError, OSError, MemoryError, RuntimeError, cv2.error) as error:  # PyTorch: RuntimeError
            self.failed.append((pair.stem, str(error)))
            tqdm.write(f"failed: {self.name}/{pair.stem}: {error}")

    def finish(self, pair: Pair, sources: "_Sources", writing: Future) -> None:
        """Wait until a pair is written, and count it."""
        with self.blaming(pair):
            writing.result()
            self.fused.append(pair)
            self.notices += sources.notices

    def summary(self) -> str:
        """Pairs, seconds per pair and folder in one line, then a line per failure."""
        pace = f", {self.seconds / len(self.fused):.2f} s per pair in {self.network}" if self.fused else ""
        lines = [f"{self.name}: {len(self.fused)} pairs fused{pace}, {len(self.failed)} failed -> {self.save_dir}"]
        return "\n".join(lines + [f"  failed: {name}: {reason}" for name, reason in self.failed])


def fuse_folder(
    fuser: Fuser,
    folder: PairFolder,
    save_dir: Path,
    value_range: tuple[float, float] | str | None = None,
    stretch: bool = False,
) -> FolderReport:
    """Fuse all pairs of a folder to `save_dir/<stem>.png`.

    Args:
        value_range: (low, high) of 16-bit files, 'folder' for one window over all files of each source, or None.
        stretch: as in `Fuser.fuse`.
    Raises:
        ImageError: a source folder is missing or holds no picture.
    """
    pairs, problems = find_pairs(folder.folder_a, folder.folder_b)
    report = FolderReport(
        folder.name, save_dir, f"{fuser.precision} on {fuser.device}", failed=[(p.name, p.reason) for p in problems]
    )
    for name, reason in report.failed:
        tqdm.write(f"failed: {folder.name}/{name}: {reason}")
    if value_range == "folder":
        report.ranges = folder_range(p.path_a for p in pairs), folder_range(p.path_b for p in pairs)
    else:
        report.ranges = value_range, value_range
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:

        def write(pair: Pair, luma: np.ndarray, sources: "_Sources") -> None:
            write_png(save_dir / f"{pair.stem}.png", fuser.color(luma, *sources.pixels, stretch))

        written: deque[tuple[Pair, _Sources, Future]] = deque()
        loaded = _ahead(reader, lambda pair: _read(pair, report.ranges), pairs)
        for pair, reading in tqdm(loaded, desc=folder.name, unit="pair", total=len(pairs)):
            with report.blaming(pair):
                sources = reading.result()
                luma = fuser.fuse_luminance(*sources.lumas)
                written.append((pair, sources, writer.submit(write, pair, luma, sources)))
            if len(written) > _AHEAD:
                report.finish(*written.popleft())
        for job in written:
            report.finish(*job)
    report.seconds = time.perf_counter() - started
    return report


@dataclass(frozen=True)
class _Sources:
    """A pair in memory: pixels as float32 in [0, 1], their luminance, and what reading noticed."""

    pixels: tuple[np.ndarray, np.ndarray]
    lumas: tuple[np.ndarray, np.ndarray]
    notices: list[str]


def _read(pair: Pair, ranges: tuple) -> _Sources:
    a, b = read_pair(pair, *ranges)
    pixels = as_unit_range(a.pixels, "source A"), as_unit_range(b.pixels, "source B")
    return _Sources(pixels, (luminance(pixels[0]), luminance(pixels[1])), [*a.notices, *b.notices])


def _ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable) -> Iterator[tuple[Pair, Future]]:
    """Each item with the future of `work(item)`, begun up to `_AHEAD` items early."""
    begun: deque[tuple[Pair, Future]] = deque()
    for item in items:
        begun.append((item, pool.submit(work, item)))
        if len(begun) > _AHEAD:
            yield begun.popleft()
    yield from begun
