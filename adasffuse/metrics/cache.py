"""Remembered scores, one small file per fused image.  A cache that cannot be used costs time, never a result."""

import contextlib
import json
import os
from pathlib import Path

from adasffuse.files import write_text

_ENTRIES = 20_000  # remembered images, about 1 KB each; those unused for longest are forgotten


def default_cache() -> Path | None:
    """Folder of remembered scores below the user's cache folder, None where the system names no home of the user."""
    folder = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(folder or Path.home() / ".cache") / "adasffuse" / "metrics"
    except RuntimeError:  # no home
        return None


def recall(entry: Path) -> dict:
    """What an entry holds.

    Args:
        entry: file of one fused image.
    Returns:
        'scores', name to float, and 'size', (height, width) of the fused image; 'scores' alone, empty, where the entry
        is absent, damaged or cannot be read.
    """
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        height, width = known["size"]
        if not all(isinstance(value, float) for value in known["scores"].values()):
            raise ValueError("a score is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"scores": {}}
    with contextlib.suppress(OSError):
        entry.touch()  # what was used last is kept
    return {"size": (int(height), int(width)), "scores": known["scores"]}


def remember(entry: Path, known: dict) -> str:
    """Write an entry.

    Args:
        entry: file of one fused image.
        known: 'size' and 'scores' as `recall` returns them.
    Returns:
        '' or why it cannot be written: no permission, a full disk.
    """
    try:
        write_text(entry, json.dumps(known))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def forget_oldest(cache: Path) -> None:
    """Delete the entries unused for longest where there are more than 20,000; others may do so at the same time.

    Args:
        cache: folder of entries; it need not exist.
    """
    ages = []
    with contextlib.suppress(OSError):
        for path in cache.glob("??/*.json"):
            with contextlib.suppress(OSError):
                ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[: max(len(ages) - _ENTRIES, 0)]:
        with contextlib.suppress(OSError):
            path.unlink()
