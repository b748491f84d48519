"""Fusing a folder of pairs: one bad pair never stops the rest."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from adasffuse.data.pairs import Pair, PairFolder, find_pairs, read_pair
from adasffuse.images import folder_range, write_png
from adasffuse.inference.fuser import Fuser


@dataclass
class FolderReport:
    """What became of a folder of pairs."""

    name: str
    save_dir: Path
    fused: list[Pair] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    notices: list[str] = field(default_factory=list)
    ranges: tuple[tuple[float, float] | None, ...] = (None, None)  # values read as black and white, of A and B
    seconds: float = 0.0  # spent on reading, fusing and writing

    def summary(self) -> str:
        """Pairs, seconds per pair and folder in one line, then a line per failure."""
        pace = f", {self.seconds / len(self.fused):.2f} s per pair" if self.fused else ""
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
    report = FolderReport(folder.name, save_dir, failed=[(p.name, p.reason) for p in problems])
    for name, reason in report.failed:
        tqdm.write(f"failed: {folder.name}/{name}: {reason}")
    if value_range == "folder":
        report.ranges = folder_range(p.path_a for p in pairs), folder_range(p.path_b for p in pairs)
    else:
        report.ranges = value_range, value_range
    started = time.perf_counter()
    for pair in tqdm(pairs, desc=folder.name, unit="pair"):
        try:
            a, b = read_pair(pair, *report.ranges)
            write_png(save_dir / f"{pair.stem}.png", fuser.fuse(a.pixels, b.pixels, stretch))
        except (ValueError, OSError) as error:
            report.failed.append((pair.stem, str(error)))
            tqdm.write(f"failed: {folder.name}/{pair.stem}: {error}")
        else:
            report.fused.append(pair)
            report.notices += [*a.notices, *b.notices]
    report.seconds = time.perf_counter() - started
    return report
