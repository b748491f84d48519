"""Cache of scores, one small file per fused image.  A failing cache costs time, never a result."""

import contextlib
import functools
import hashlib
import importlib
import json
import os
from pathlib import Path

from adasffuse.files import write_text

_ENTRIES = 20_000  # images in the cache, about 1 KB each; the least recently used are deleted
_LIBRARIES = ("numpy", "scipy", "cv2", "skimage", "PIL")  # that read the images and compute the scores


def default_cache() -> Path | None:
    """The cache below the user's cache folder, None if the user has no home folder."""
    folder = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(folder or Path.home() / ".cache") / "adasffuse" / "metrics"
    except RuntimeError:  # no home
        return None


def recall(entry: Path) -> dict:
    """Read an entry.

    Args:
        entry: file of one fused image.
    Returns:
        'scores', name to float, and 'size', (height, width) of the fused image; {'scores': {}} if the entry is absent,
        damaged or cannot be read.
    """
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
        height, width = map(int, known["size"])
        if not all(isinstance(value, float) for value in known["scores"].values()):
            raise ValueError("a score is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {"scores": {}}
    with contextlib.suppress(OSError):
        entry.touch()  # for `forget_oldest`
    return {"size": (height, width), "scores": known["scores"]}


def remember(entry: Path, known: dict) -> str:
    """Write an entry.

    Args:
        entry: file of one fused image.
        known: 'size' and 'scores' as `recall` returns them.
    Returns:
        '', or the reason why it cannot be written: no permission, a full disk.
    """
    try:
        write_text(entry, json.dumps(known))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def forget_oldest(cache: Path) -> None:
    """Delete the least recently used entries beyond 20,000; several processes may do so at the same time.

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


@functools.cache
def code_digest() -> str:
    """Hash of everything that a score depends on: our source files and the versions of the libraries."""
    versions = (importlib.import_module(name).__version__ for name in _LIBRARIES)
    digest = hashlib.sha256(" ".join(versions).encode())
    package = Path(__file__).resolve().parents[1]
    modules = [package / "classical" / "baselines.py", *(package / "images").glob("*.py")]
    for path in sorted([*(package / "metrics").glob("*.py"), *modules]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
