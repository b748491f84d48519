"""Fusing a folder of pairs: one bad pair never stops the rest.

While the network works on some pairs, others are read, coloured and written.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from adasffuse.images.color import luminance
from adasffuse.images.pairs import Pair, PairFolder, find_pairs, read_pair
from adasffuse.images.ranges import parse_range, resolve_range
from adasffuse.images.write import write_png
from adasffuse.inference.fuser import Fuser, as_unit_range

_LARGE = 1 << 20  # pixels from which on an image gets all threads: they share its work well, and memory is bounded


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

    def finish(self, pair: Pair, job: Future) -> None:
        """Wait until a pair is written, and count it."""
        with self.blaming(pair):
            self.notices += job.result()
            self.fused.append(pair)

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
        ImageError: a source folder is missing or holds no image.
    """
    pairs, problems = find_pairs(folder.folder_a, folder.folder_b)
    report = FolderReport(
        folder.name, save_dir, f"{fuser.precision} on {fuser.device}", failed=[(p.name, p.reason) for p in problems]
    )
    for name, reason in report.failed:
        tqdm.write(f"failed: {folder.name}/{name}: {reason}")
    if value_range == "folder":
        whole = parse_range("folder")
        report.ranges = tuple(resolve_range(whole, paths) for paths in zip(*((p.path_a, p.path_b) for p in pairs)))
    else:
        report.ranges = value_range, value_range
    started = time.perf_counter()
    with _Turns(fuser.device) as turns, ThreadPoolExecutor(turns.places + 1) as pool:

        def fuse(pair: Pair) -> list[str]:
            a, b = read_pair(pair, *report.ranges)
            pixels = as_unit_range(a.pixels, "source A"), as_unit_range(b.pixels, "source B")
            lumas = [luminance(p) for p in pixels]
            with turns.one(lumas[0].size):
                luma = fuser.fuse_luminance(*lumas)
            write_png(save_dir / f"{pair.stem}.png", fuser.color(luma, *pixels, stretch))
            return [*a.notices, *b.notices]

        jobs = [pool.submit(fuse, pair) for pair in pairs]
        try:
            for pair, job in tqdm(zip(pairs, jobs), desc=folder.name, unit="pair", total=len(pairs)):
                report.finish(pair, job)
        finally:  # an interrupt waits only for the pairs that were begun
            pool.shutdown(cancel_futures=True)
    report.seconds = time.perf_counter() - started
    return report


class _Turns:
    """Turns at the network: on a CPU with several threads two small images at once, each with half of the threads.

    Threads that work on one image wait for each other after every layer; on two cores, two images at once take a
    tenth less time.  Within the context PyTorch's number of threads is changed.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        self.places = 2 if device.type == "cpu" and self._threads > 1 else 1
        self._free, self._changed = self.places, threading.Condition()

    def __enter__(self) -> "_Turns":
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)

    @contextmanager
    def one(self, pixels: int) -> Iterator[None]:
        """The calling thread's turn, with the number of threads that it may use."""
        places = self.places if pixels >= _LARGE else 1
        with self._changed:
            self._changed.wait_for(lambda: self._free >= places)
            self._free -= places
        torch.set_num_threads(self._threads * places // self.places)  # of this thread and those that start later
        try:
            yield
        finally:
            with self._changed:
                self._free += places
                self._changed.notify_all()
