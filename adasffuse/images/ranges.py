"""Value ranges of deep files, as options give them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from adasffuse.images.read import folder_range

RangeSpec = tuple[float, float] | str


def parse_range(words: Sequence[str] | None) -> RangeSpec | None:
    """LOW HIGH in a file's units, or 'folder'; None for None.

    Raises:
        ValueError: anything else.
    """
    if words is None:
        return None
    if list(words) == ["folder"]:
        return "folder"
    try:
        low, high = (float(word) for word in words)
    except ValueError:
        raise ValueError(f"a range is LOW HIGH in the files' values, or 'folder'; got {' '.join(words)}") from None
    if not low < high:
        raise ValueError(f"a range needs LOW < HIGH, got {low:g} {high:g}")
    return low, high


def resolve_range(
    spec: RangeSpec | None, paths: Iterable[str | Path], no_data: float | None = None
) -> tuple[float, float] | None:
    """One window for all deep files of a folder, None where none is needed."""
    return folder_range(paths) if spec == "folder" else spec
